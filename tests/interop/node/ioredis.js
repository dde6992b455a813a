'use strict';
// ioredis: its ready check (INFO), a name, pipelines, errors; no error event may be seen.

const Redis = require('ioredis');
const check = require('./check.js');

const port = Number(process.argv[2]);

async function main() {
	const client = new Redis({ port, db: 0, connectionName: 'interop', retryStrategy: null });
	client.on('error', check.fail);
	await new Promise((resolve) => client.once('ready', resolve));
	await check.session('ioredis',
		(command, ...args) => client.call(command, ...args),
		async (commands) => {
			const replies = await client.pipeline(commands.map((args) => ['call', ...args])).exec();
			return replies.map(([error, reply]) => {
				if (error) {
					throw error;
				}
				return reply;
			});
		});
	await client.quit();
}

main().catch(check.fail);
