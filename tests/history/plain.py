"""Is there an order of the operations on plain keys in which each reply is true?

Replies about plain keys carry no LSN, so the order has to be searched for: Wing and Gong's search (1993), with Lowe's
memory of where it has been (2017). Linearizability is local: where each object has an order, all together have one.
An object here is a set of keys that commands name together, for such a command is of one instant: it stands in the
order of all of them, once. A MGET of long values is not: it is one GET for each of its keys.

A place in the search is: of each connection, how many of its answered operations stand in the order already; the
values then; and which unanswered ones were put in. An operation may come next if no other one that is still to come
has ended before it began. Four things keep the search small, and none of them leaves out an order:

- what its reply shows to have changed nothing is put in as soon as its reply is true;
- an unanswered operation is put in only where it changes something; of those with the same words, but for a value that
  nobody has seen, only one is tried;
- of two places that differ only in the unanswered ones, the one that used fewer of them can do all that the other can;
- one order is enough: one with few unanswered ones is looked for first.
"""

import bisect
import copy
import itertools

CONFIGURATIONS_MAX = 1000000  # looked at before the search gives up, which is a failure
CONFIGURATIONS_SOON = 20000  # looked at before searches with few of the unanswered operations are made
CONFIGURATIONS_FEW = 20000  # looked at in each of these
FEW = 2  # unanswered ones in them, beside those that the keys need
NULL = "_"
ANY = "*"  # the reply that may be any
LONG = "#"  # a long value begins with it; then its length
VERBS = ("GET", "SET", "DEL", "INCR", "SETNX", "MGET", "EXISTS")


class GivenUp(Exception):
    """There are too many places."""


def keys_of(words):
    """The keys that a command names."""
    return words[1:] if words[0] in ("MGET", "DEL", "EXISTS") else words[1:2]


def run(words, values, at):
    """What plain keys are: the reply to a command where they have these values (None: it is not there; at[key] is
    the place of a key's), and their new ones."""
    verb, keys = words[0], keys_of(words)
    found = [values[at[key]] for key in keys]
    if verb in ("GET", "MGET"):
        return " ".join(NULL if value is None else value for value in found), values
    if verb == "EXISTS":
        return str(sum(value is not None for value in found)), values
    if verb == "DEL":
        gone = {at[key] for key, value in zip(keys, found) if value is not None}
        return str(len(gone)), tuple(None if i in gone else value for i, value in enumerate(values))
    value, i = found[0], at[keys[0]]
    shown, new = NULL if value is None else value, str(int(value or 0) + 1) if verb == "INCR" else words[2]
    after = values[:i] + (new,) + values[i + 1:]
    if verb == "INCR":
        return new, after
    if verb == "SETNX":
        return ("1", after) if value is None else ("0", values)
    option = words[3] if len(words) > 3 else None
    if (option == "NX" and value is not None) or (option == "IFEQ" and value != words[4]):
        return NULL, values
    return (shown if option == "GET" else "OK"), after


def only_read(operation):
    """Its reply tells that it changed nothing."""
    verb, reply = operation.verb, operation.reply
    return verb in ("GET", "MGET", "EXISTS") or (verb in ("DEL", "SETNX") and reply == "0") or (
        verb == "SET" and reply == NULL and operation.words[-1] != "GET")


def may_write(operation):
    """It has changed a key, or, unanswered, may have."""
    return operation.reply != "!" and not only_read(operation)


def alone(operation, key):
    """What of it tells of this key alone; None: nothing."""
    keys = set(keys_of(operation.words))
    if key not in keys:
        return None
    if len(keys) == 1:
        return operation
    part = copy.copy(operation)
    part.words = [operation.verb, key]
    if not operation.answered:
        return part
    if operation.verb == "MGET":
        part.verb, part.words = "GET", ["GET", key]
        part.reply = operation.reply.split(" ")[operation.words.index(key) - 1]
    elif operation.reply == "0":
        part.reply = "0"
    elif operation.reply == str(len(keys if operation.verb == "DEL" else operation.words[1:])):
        part.reply = "1"
    elif operation.verb == "EXISTS":
        return None
    else:
        part.reply = ANY
    return part


def kinds_of(unanswered, answered):
    """Of those that do the same, but for a value that no reply and no condition tells of, each may stand for the
    others: the words that tell them apart."""
    words = [word for o in answered for word in o.reply.split(" ")]
    words += [o.words[4] for o in [*answered, *filter(None, unanswered)] if o.words[3:4] == ["IFEQ"]]
    seen = sorted(int(word) for word in words if word.isdigit())
    counted = sum(o.verb == "INCR" for o in [*answered, *filter(None, unanswered)])

    def kind(operation):
        if operation.verb not in ("SET", "SETNX") or not operation.words[2].isdigit():
            return tuple(operation.words)
        value = int(operation.words[2])
        at = bisect.bisect_left(seen, value)
        is_seen = at < len(seen) and seen[at] <= value + counted
        return tuple(operation.words if is_seen else [*operation.words[:2], *operation.words[3:]])

    return [operation and kind(operation) for operation in unanswered]


class Search:
    """The operations on keys that belong together, those that were sent whole.

    chains: of each connection, those that were answered. open: the others, and in chain_of_open their connections'.
    Where there are several keys, each has a search of its own, a guide: what is a dead end for one of them alone is
    one for all. So a choice that only a later reply about the same key shows to be wrong is not made, and the search
    does not try all that there is of the other keys between the two."""

    def __init__(self, keys, chains, unanswered, chain_of_open):
        self.at = {key: i for i, key in enumerate(keys)}
        self.chains, self.open, self.chain_of_open = chains, unanswered, chain_of_open
        self.lengths = [len(chain) for chain in chains]
        self.kinds = kinds_of(unanswered, [operation for chain in chains for operation in chain])
        self.dead = {}  # (positions, values) -> the least sets of unanswered ones with which it is a dead end
        self.good = set()  # places from which all can be put in
        self.looked_at, self.limit, self.deepest, self.stuck = 0, CONFIGURATIONS_MAX, -1, None
        self.guides = {key: Guide(self, key) for key in keys} if len(keys) > 1 else {}

    def _answered(self, ready, place):
        """The places behind an answered operation, and whether no others need to be tried."""
        positions, values, used = place
        after = []
        for i, operation in ready:
            reply, new = run(operation.words, values, self.at)
            if operation.reply not in (reply, ANY):
                continue
            following = (positions[:i] + (positions[i] + 1,) + positions[i + 1:], new, used)
            if only_read(operation):
                return [(following, operation)], True
            after.append((following, operation))
        return sorted(after, key=lambda pair: pair[1].end), False

    def _unanswered(self, limit, place):
        positions, values, used = place
        tried = set()
        for i, operation in enumerate(self.open):
            if operation is None:
                continue
            chain, kind = self.chain_of_open[i], self.kinds[i]
            if operation.begin > limit:
                return
            if used >> i & 1 or kind in tried or (chain is not None and positions[chain] < self.lengths[chain]):
                continue
            new = run(operation.words, values, self.at)[1]
            if new != values:
                tried.add(kind)
                yield (positions, new, used | 1 << i), operation

    def _following(self, place):
        """The places that may come next, the likeliest first; None: there is nothing left to put in."""
        positions = place[0]
        heads = [(i, chain[at]) for i, (chain, at, length) in enumerate(zip(self.chains, positions, self.lengths))
                 if at < length]
        if not heads:
            return None
        limit = min([operation.end for _i, operation in heads])
        if sum(positions) > self.deepest:
            self.deepest, self.stuck = sum(positions), next(o for _i, o in heads if o.end == limit)
        after, enough = self._answered([(i, o) for i, o in heads if o.begin <= limit], place)
        return self._guided(after, () if enough else self._unanswered(limit, place))

    def _guided(self, *pairs):
        for following, operation in itertools.chain(*pairs):
            if not self.guides or all(self.guides[key].allows(following) for key in set(keys_of(operation.words))):
                yield following

    def _is_dead(self, place):
        positions, values, used = place
        return any(less & used == less for less in self.dead.get((positions, values), ()))

    def _bury(self, place):
        positions, values, used = place
        before = self.dead.setdefault((positions, values), [])
        before[:] = [more for more in before if used & more != used] + [used]

    def leads_on(self, place):
        """Can all that is left be put in from here? Raises GivenUp."""
        if place in self.good or self._is_dead(place):
            return place in self.good
        path = [(place, self._following(place))]
        while path:
            place, after = path[-1]
            following = None if after is None else next((p for p in after if not self._is_dead(p)), None)
            if after is None or following in self.good:
                self.good.update(p for p, _after in path)
                return True
            if following is None:
                self._bury(place)
                path.pop()
                continue
            self.looked_at += 1
            if self.looked_at > self.limit:
                raise GivenUp
            path.append((following, self._following(following)))
        return False

    def _has_order(self, limit):
        """Without a look at the guides first. Raises GivenUp; asked again with more, it goes on."""
        self.limit = limit
        return self.leads_on(((0,) * len(self.chains), (None,) * len(self.at), 0))

    def _why_not(self):
        try:
            return None if self._has_order(CONFIGURATIONS_MAX) else ("no order fits", self.stuck)
        except GivenUp:
            return "the search for an order was given up", self.stuck

    def _needed(self):
        """The unanswered ones that some key needed in the order found for it alone, a bit each."""
        needed = 0
        for guide in self.guides.values():
            ends = [used for positions, _values, used in guide.search.good if list(positions) == guide.search.lengths]
            needed |= min(ends, key=int.bit_count)
        return needed

    def _has_order_with(self, few):
        """Is there one without other unanswered ones than these? May miss it."""
        chosen = [i for i in range(len(self.open)) if few >> i & 1]
        search = Search(list(self.at), self.chains, [self.open[i] for i in chosen],
                        [self.chain_of_open[i] for i in chosen])
        try:
            return search._has_order(CONFIGURATIONS_FEW)
        except GivenUp:
            return False

    def _widened(self, needed):
        """Is there an order with few more than the needed ones? The places that differ in those put in are many where
        each of forty may have been; they are not where there are only these."""
        others = [1 << i for i in range(len(self.open)) if not needed >> i & 1]
        return any(self._has_order_with(needed | sum(more)) for count in range(1, FEW + 1)
                   for more in itertools.combinations(others, count))

    def find(self):
        """None if there is an order, otherwise (why, an operation that none was found for)."""
        for guide in self.guides.values():
            wrong = guide.search._why_not()
            if wrong:
                return wrong
        if self.guides:
            needed = self._needed()
            if self._has_order_with(needed):
                return None
            try:
                return None if self._has_order(CONFIGURATIONS_SOON) else ("no order fits", self.stuck)
            except GivenUp:
                if self._widened(needed):
                    return None
        return self._why_not()


class Guide:
    """One key's search beside that of all: the same connections, what their operations tell of this key."""

    def __init__(self, whole, key):
        told = [[alone(operation, key) for operation in chain] for chain in whole.chains]
        unanswered = [alone(operation, key) for operation in whole.open]
        self.place = whole.at[key]
        self.mask = sum(1 << i for i, operation in enumerate(unanswered) if operation)
        self.counts = [[0, *itertools.accumulate(int(o is not None) for o in chain)] for chain in told]
        self.search = Search([key], [[o for o in chain if o] for chain in told], unanswered, whole.chain_of_open)

    def allows(self, place):
        """As far as this key goes, all can still be put in."""
        positions, values, used = place
        return self.search.leads_on((tuple(count[at] for count, at in zip(self.counts, positions)),
                                     (values[self.place],), used & self.mask))


def search_for(operations):
    """Their search."""
    chains = {}
    for operation in operations:
        if operation.answered:
            chains.setdefault(operation.connection, []).append(operation)
    unanswered = sorted((o for o in operations if o.reply == "?" and may_write(o)), key=lambda o: o.begin)
    number = {connection: i for i, connection in enumerate(chains)}
    keys = sorted({key for operation in operations for key in keys_of(operation.words)})
    return Search(keys, list(chains.values()), unanswered, [number.get(o.connection) for o in unanswered])


def parts(operation):
    """What of it is of one instant: all of it, or, of a MGET that shows a long value, the GET of each key."""
    if operation.verb != "MGET" or LONG not in operation.reply:
        return [operation]
    gets = []
    for key, value in zip(operation.words[1:], operation.reply.split(" ")):
        get = copy.copy(operation)
        get.verb, get.words, get.reply = "GET", ["GET", key], value
        gets.append(get)
    return gets


def objects(operations):
    """Those on keys that commands of one instant name together: a list for each set of keys."""
    together = {}  # key -> those that belong to it, itself too
    for operation in operations:
        keys = set().union(*(together.get(key, {key}) for key in keys_of(operation.words)))
        if together.get(operation.words[1]) != keys:
            together.update(dict.fromkeys(keys, frozenset(keys)))
    found = {keys: [] for keys in together.values()}
    for operation in operations:
        found[together[operation.words[1]]].append(operation)
    return list(found.values())


def find_wrong(operations):
    """None if all plain keys have an order, otherwise (why, the operation)."""
    told = [o for o in operations if o.verb in VERBS and (o.answered or may_write(o))]
    plain = [part for operation in told for part in parts(operation)]
    for together in objects(plain):
        wrong = search_for(together).find()
        if wrong:
            return wrong
    return None
