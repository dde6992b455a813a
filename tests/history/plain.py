"""Is there an order of the operations on one plain key in which each reply is true?

Replies about plain keys carry no LSN, so the order has to be searched for: Wing and Gong's search (1993), with Lowe's
memory of where it has been (2017). Linearizability is local: where each key has an order, all keys together have one.

A place in the search is: of each connection, how many of its answered operations stand in the order already; the
value then; and which unanswered ones were put in. An operation may come next if no other one that is still to come
has ended before it began. Four things keep the search small, and none of them leaves out an order:

- what its reply shows to have changed nothing is put in as soon as its reply is true;
- an unanswered operation is put in only where it changes something; of those with the same words, only one is tried;
- of two places that differ only in the unanswered ones, the one that used fewer of them can do all that the other can;
- one order is enough.
"""

CONFIGURATIONS_MAX = 1000000  # looked at before the search gives up, which is a failure
NULL = "_"
VERBS = ("GET", "SET", "DEL", "INCR")


def run(words, value):
    """What a plain key is: the reply to a command where it has that value (None: it is not there), and its new one."""
    verb, shown = words[0], NULL if value is None else value
    if verb == "GET":
        return shown, value
    if verb == "DEL":
        return ("0" if value is None else "1"), None
    if verb == "INCR":
        number = str(int(value or 0) + 1)
        return number, number
    new, option = words[2], words[3] if len(words) > 3 else None
    if (option == "NX" and value is not None) or (option == "IFEQ" and value != words[4]):
        return NULL, value
    return (shown if option == "GET" else "OK"), new


def only_read(operation):
    """Its reply tells that it changed nothing."""
    verb, reply = operation.words[0], operation.reply
    return verb == "GET" or (verb == "DEL" and reply == "0") or (
        verb == "SET" and reply == NULL and operation.words[-1] != "GET")


def may_write(operation):
    """It has changed the key, or, unanswered, may have."""
    return operation.reply != "!" and not only_read(operation)


class Search:
    """The operations on one key, those that were sent whole."""

    def __init__(self, operations):
        chains = {}
        self.open = sorted((o for o in operations if o.reply == "?" and may_write(o)), key=lambda o: o.begin)
        for operation in operations:
            if operation.answered:
                chains.setdefault(operation.connection, []).append(operation)
        self.chains = list(chains.values())
        number = {connection: i for i, connection in enumerate(chains)}
        self.chain_of_open = [number.get(o.connection) for o in self.open]
        self.seen = {}  # (positions, value) -> the least sets of unanswered ones that led there
        self.deepest, self.stuck = -1, None

    def _is_new(self, positions, value, used):
        before = self.seen.setdefault((positions, value), [])
        if any(less & used == less for less in before):
            return False
        before[:] = [more for more in before if used & more != used] + [used]
        return True

    def _answered(self, ready, positions, value, used):
        """The places behind an answered operation."""
        after = []
        for i, operation in ready:
            reply, new = run(operation.words, value)
            if reply != operation.reply:
                continue
            place = (positions[:i] + (positions[i] + 1,) + positions[i + 1:], new, used)
            if only_read(operation):
                return [place], True
            after.append((operation.end, place))
        return [place for _end, place in sorted(after, key=lambda pair: -pair[0])], False

    def _unanswered(self, limit, positions, value, used):
        tried = set()
        for i, operation in enumerate(self.open):
            chain, words = self.chain_of_open[i], tuple(operation.words)
            if operation.begin > limit:
                return
            if used >> i & 1 or words in tried or (chain is not None and positions[chain] < len(self.chains[chain])):
                continue
            new = run(operation.words, value)[1]
            if new != value:
                tried.add(words)
                yield positions, new, used | 1 << i

    def find(self):
        """None if there is an order, otherwise (why, an operation that none was found for)."""
        places = [((0,) * len(self.chains), None, 0)]
        count = 0
        while places:
            positions, value, used = places.pop()
            if not self._is_new(positions, value, used):
                continue
            count += 1
            if count > CONFIGURATIONS_MAX:
                return "the search for an order was given up", self.stuck
            heads = [(i, chain[at]) for i, (chain, at) in enumerate(zip(self.chains, positions)) if at < len(chain)]
            if not heads:
                return None
            first = min((operation for _i, operation in heads), key=lambda operation: operation.end)
            if sum(positions) > self.deepest:
                self.deepest, self.stuck = sum(positions), first
            ready = [(i, operation) for i, operation in heads if operation.begin <= first.end]
            after, alone = self._answered(ready, positions, value, used)
            if not alone:
                places += reversed(list(self._unanswered(first.end, positions, value, used)))
            places += after
        return "no order fits", self.stuck


def find_wrong(operations):
    """None if each plain key has an order, otherwise (why, the operation)."""
    by_key = {}
    for operation in operations:
        if operation.verb in VERBS:
            by_key.setdefault(operation.key, []).append(operation)
    for key in sorted(by_key):
        wrong = Search(by_key[key]).find()
        if wrong:
            return wrong
    return None
