'use strict';
// What both scripts share.

const assert = require('node:assert/strict');

// RESP2 maps are flat arrays.
exports.map = (reply) => {
	if (!Array.isArray(reply)) {
		return reply instanceof Map ? Object.fromEntries(reply) : { ...reply };
	}
	const result = {};
	for (let i = 0; i < reply.length; i += 2) {
		result[reply[i]] = reply[i + 1];
	}
	return result;
};

// The same session for every client. `call` sends one command, `many` a pipeline of them.
exports.session = async (name, call, many) => {
	const key = name.replaceAll(' ', '-');
	const placed = await call('HF.SEND', 'order', key, 'Place', 'q', '1000', 'p', '-5', 's', 'ACME', 'ID', key);
	assert.deepEqual(placed.slice(0, 2), ['Open', 1]);
	const again = await call('HF.SEND', 'order', key, 'Place', 'q', '1000', 'p', '-5', 's', 'ACME', 'ID', key);
	assert.deepEqual(again, placed);
	const entity = exports.map(await call('HF.GET', 'order', key));
	assert.deepEqual([entity.state, entity.version, entity.qty, entity.price, entity.rush, entity.symbol],
		['Open', 1, '1000', '-5', 'false', 'ACME']);
	await assert.rejects(call('HF.SEND', 'order', key, 'Fill', 'n', '1001'), /^[A-Za-z]*Error: REFUSED /);
	const commands = Array.from({ length: 500 }, () => ['HF.SEND', 'order', key, 'Fill', 'n', '1']);
	const replies = await many(commands);
	assert.deepEqual(replies.map((reply) => reply[1]), Array.from({ length: 500 }, (_, i) => i + 2));
	const past = await call('HF.HISTORY', 'order', key, 'COUNT', '2');
	const first = exports.map(past[0]);
	assert.equal(first.event, 'Place');
	assert.equal(exports.map(first.params).s, 'ACME');
	console.log('ok    ' + name);
};

exports.fail = (error) => {
	console.error(error);
	process.exit(1);
};
