'use strict';
// node-redis: RESP2 and RESP3, a client name, pipelines, errors; no error event may be seen.

const { createClient } = require('redis');
const check = require('./check.js');

const port = Number(process.argv[2]);

async function main() {
	for (const RESP of [2, 3]) {
		const client = createClient({ RESP, name: 'interop', socket: { port, reconnectStrategy: false } });
		client.on('error', check.fail);
		await client.connect();
		await check.session('node-redis RESP' + RESP,
			(...args) => client.sendCommand(args),
			(commands) => Promise.all(commands.map((args) => client.sendCommand(args))));
		await client.ping();
		await client.quit();
	}
}

main().catch(check.fail);
