// What Mermaid's own parser makes of each FILE: a JSON array of {file, error} or {file, states, transitions}.
// `within` is the composite in whose braces a thing stands, "" for none; [*] stays [*].
import { readFileSync } from 'node:fs';
import { JSDOM } from 'jsdom';

const dom = new JSDOM('<!doctype html><body></body>');
globalThis.window = dom.window;
globalThis.document = dom.window.document;
const mermaid = (await import('mermaid')).default;
mermaid.initialize({ startOnLoad: false });

function idOf(node) {
	return node.start === undefined ? node.id.trim() : '[*]';
}

function walk(doc, within, out) {
	for (const item of doc) {
		if (item.stmt === 'relation') {
			for (const end of [item.state1, item.state2])
				if (end.start === undefined)
					out.states.push({ name: idOf(end), within, kind: 'state' });
			out.transitions.push({
				from: idOf(item.state1),
				to: idOf(item.state2),
				label: (item.description ?? '').trim(),
				within,
			});
		} else if (item.stmt === 'state') {
			const kind = item.doc?.length ? 'composite' : item.type === 'choice' ? 'choice' : 'state';
			if (item.start === undefined)
				out.states.push({ name: idOf(item), within, kind });
			walk(item.doc ?? [], idOf(item), out);
		}
	}
}

const results = [];
for (const file of process.argv.slice(2)) {
	try {
		const text = readFileSync(file, 'utf8');
		await mermaid.parse(text);
		const diagram = await mermaid.mermaidAPI.getDiagramFromText(text);
		const out = { file, type: diagram.type, states: [], transitions: [] };
		if (!diagram.type.startsWith('state'))
			throw new Error(`not a state diagram but ${diagram.type}`);
		walk(diagram.db.getRootDocV2().doc, '', out);
		results.push(out);
	} catch (error) {
		results.push({ file, error: String(error?.message ?? error).split('\n')[0] });
	}
}
console.log(JSON.stringify(results));
