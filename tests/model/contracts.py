"""Random contracts, and what each event must do to an entity: a model of the contract language.

It shares nothing with the server: expressions are small trees that are printed as contract text
on one side and evaluated here, with checked 64-bit arithmetic, on the other.
"""

import dataclasses
import re
import typing

from hypothesis import strategies as st

U64_MAX = 2**64 - 1
I64_MIN, I64_MAX = -(2**63), 2**63 - 1
LIMITS = {"u64": (0, U64_MAX), "i64": (I64_MIN, I64_MAX)}
EDGES = {"u64": [0, 1, 2, 7, 2**32, I64_MAX, U64_MAX - 1, U64_MAX],
         "i64": [0, 1, -1, 2, -7, 2**32, I64_MIN + 1, I64_MIN, I64_MAX - 1, I64_MAX]}
PRECEDENCE = {"||": 1, "&&": 2, "==": 3, "!=": 3, "<": 4, "<=": 4, ">": 4, ">=": 4,
              "+": 5, "-": 5, "*": 6, "/": 6, "%": 6}
UNARY = 7


class Refused(Exception):
    """The event must be refused."""


@dataclasses.dataclass(frozen=True)
class Type:
    """u64, i64, bool, or bytes with its longest length."""

    kind: str
    longest: int = 0

    def __str__(self):
        return f"bytes({self.longest})" if self.kind == "bytes" else self.kind

    @property
    def zero(self):
        """What a field holds before anything is assigned to it."""
        return {"bool": False, "bytes": b""}.get(self.kind, 0)


@dataclasses.dataclass(frozen=True)
class Lit:
    """A literal."""

    value: typing.Any

    def text(self, _above=0):
        """Bools are spelled true and false, bytes in quotes."""
        return f'"{self.value.decode()}"' if isinstance(self.value, bytes) else str(self.value).lower()

    def value_in(self, _names):
        """The value itself."""
        return self.value


@dataclasses.dataclass(frozen=True)
class Name:
    """A field or a param."""

    name: str
    type: Type

    def text(self, _above=0):
        """The name."""
        return self.name

    def value_in(self, names):
        """The field's value before the event, or the param's."""
        return names[self.name]


@dataclasses.dataclass(frozen=True)
class Call:
    """min, max or abs."""

    function: str
    args: tuple
    kind: str

    def text(self, _above=0):
        """function(arguments)"""
        return f"{self.function}({', '.join(arg.text() for arg in self.args)})"

    def value_in(self, names):
        """abs can overflow."""
        values = [arg.value_in(names) for arg in self.args]
        return checked(self.kind, {"min": min, "max": max, "abs": abs}[self.function](*values))


@dataclasses.dataclass(frozen=True)
class Convert:
    """u64(x) of an i64, and the other way round."""

    kind: str
    arg: typing.Any

    def text(self, _above=0):
        """kind(argument)"""
        return f"{self.kind}({self.arg.text()})"

    def value_in(self, names):
        """The same number, if it fits."""
        return checked(self.kind, self.arg.value_in(names))


@dataclasses.dataclass(frozen=True)
class Unary:
    """! and the minus sign."""

    op: str
    arg: typing.Any

    def text(self, above=0):
        """A minus sign is never printed beside another one."""
        inner = self.arg.text(UNARY + 1)
        return f"({self.op}{inner})" if above > UNARY else f"{self.op}{inner}"

    def value_in(self, names):
        """-I64_MIN overflows."""
        value = self.arg.value_in(names)
        return (not value) if self.op == "!" else checked("i64", -value)


@dataclasses.dataclass(frozen=True)
class Binary:
    """Every other operator; `kind` is the type of both sides."""

    op: str
    left: typing.Any
    right: typing.Any
    kind: str

    def text(self, above=0):
        """As few parentheses as C needs: all operators here are left-associative."""
        mine = PRECEDENCE[self.op]
        text = f"{self.left.text(mine)} {self.op} {self.right.text(mine + 1)}"
        return f"({text})" if above > mine else text

    def value_in(self, names):
        """&& and || do not look at the right side if the left one decides."""
        left = self.left.value_in(names)
        if self.op == "&&":
            return left and self.right.value_in(names)
        if self.op == "||":
            return left or self.right.value_in(names)
        return binary(self.op, left, self.right.value_in(names), self.kind)


def checked(kind, value):
    """The value, if its type can hold it."""
    if kind in LIMITS and not LIMITS[kind][0] <= value <= LIMITS[kind][1]:
        raise Refused("overflow")
    return value


def binary(op, left, right, kind):
    """Arithmetic and comparison, as in C but for overflow."""
    if op in ("/", "%"):
        if right == 0:
            raise Refused("division by zero")
        quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
        # The rest always fits, also where the quotient does not.
        return checked(kind, quotient) if op == "/" else left - quotient * right
    return {
        "+": lambda: checked(kind, left + right), "-": lambda: checked(kind, left - right),
        "*": lambda: checked(kind, left * right),
        "<": lambda: left < right, "<=": lambda: left <= right, ">": lambda: left > right,
        ">=": lambda: left >= right, "==": lambda: left == right, "!=": lambda: left != right,
    }[op]()


@dataclasses.dataclass(frozen=True)
class Effect:
    """field = expression, field += expression, field -= expression"""

    field: Name
    op: str
    value: typing.Any

    def text(self):
        """As in the contract."""
        return f"{self.field.name} {self.op} {self.value.text()}"

    def new_value(self, names):
        """All names are those before the event."""
        value = self.value.value_in(names)
        if self.op == "=":
            return value
        return binary(self.op[0], names[self.field.name], value, self.field.type.kind)


@dataclasses.dataclass(frozen=True)
class Transition:
    """From and to are state names; [*] is the beginning."""

    origin: str
    to: str
    event: str
    guard: typing.Any
    effects: tuple


@dataclasses.dataclass(frozen=True)
class Entity:
    """One version of an entity."""

    state: str
    version: int
    fields: dict


@dataclasses.dataclass(frozen=True, repr=False)
class Contract:
    """A contract; `events` maps a name to its params, `initial` is None if the initial transitions are labelled."""

    name: str
    version: int
    fields: tuple
    events: dict
    initial: typing.Optional[str]
    transitions: tuple
    ends: tuple
    invariants: tuple

    def __repr__(self):
        return "\n" + self.text()

    def text(self):
        """The diagram."""
        lines = ["---", f"title: {self.name}", "---", "stateDiagram-v2",
                 f"    %% version {self.version}"]
        lines += [f"    %% field {field.name}: {field.type}" for field in self.fields]
        lines += [f"    %% invariant {invariant.text()}" for invariant in self.invariants]
        if self.initial:
            lines.append(f"    [*] --> {self.initial}")
        for t in self.transitions:
            params = ", ".join(f"{p.name}: {p.type}" for p in self.events[t.event])
            label = f"{t.event}({params})" if params else t.event
            label += f" [{t.guard.text()}]" if t.guard else ""
            label += " / " + ", ".join(e.text() for e in t.effects) if t.effects else ""
            lines.append(f"    {t.origin} --> {t.to} : {label}")
        lines += [f"    {state} --> [*]" for state in self.ends]
        return "\n".join(lines) + "\n"

    def new_entity(self):
        """What a key holds before its first event."""
        return Entity(self.initial or "[*]", 0, {f.name: f.type.zero for f in self.fields})

    def step(self, entity, event, params):
        """The entity after the event, or Refused."""
        names = {**entity.fields, **params}
        for t in self.transitions:
            if t.origin != entity.state or t.event != event:
                continue
            if t.guard and not t.guard.value_in(names):
                continue
            fields = {**entity.fields, **{e.field.name: e.new_value(names) for e in t.effects}}
            for invariant in self.invariants:
                if not invariant.value_in(fields):
                    raise Refused("invariant")
            return Entity(t.to, entity.version + 1, fields)
        raise Refused("no transition")


    def way_to(self, line, rng, tries=5000):
        """Fields and params with which the transition on this line of the text is taken, if random ones find it."""
        arrows = [n for n, text in enumerate(self.text().splitlines(), start=1)
                  if "-->" in text and " : " in text]
        chosen = self.transitions[arrows.index(line)]
        rivals = [t for t in self.transitions if (t.origin, t.event) == (chosen.origin, chosen.event)]
        literals_of_guards = [int(n) for t in rivals if t.guard
                              for n in re.findall(r"\b\d+\b", t.guard.text())]
        for _ in range(tries):
            names = {}
            for name in self.fields + self.events[chosen.event]:
                names[name.name] = pick(rng, name.type)
                if name.type.kind in LIMITS and literals_of_guards and rng.random() < 0.7:
                    near = rng.choice(literals_of_guards) + rng.randrange(-1, 2)
                    names[name.name] = max(LIMITS[name.type.kind][0], min(near, I64_MAX))
            if chosen.origin == "[*]":
                names.update(self.new_entity().fields)
            try:
                taken = next((t for t in rivals if not t.guard or t.guard.value_in(names)), None)
                if taken is chosen and all(i.value_in(names) for i in self.invariants):
                    return names
            except Refused:
                pass
        return None


# ---- strategies


def literals(kind):
    """Numbers that a contract can spell: the lowest i64 has no literal."""
    low, high = LIMITS[kind]
    small = st.integers(0, 20)
    return st.one_of(small, small, small, st.sampled_from(EDGES[kind]), st.integers(low, high)).map(
        lambda n: max(n, low + (kind == "i64"))).map(
        lambda n: Lit(n) if n >= 0 else Unary("-", Lit(-n)))


def texts(longest):
    """Bytes that a contract can spell; short ones, so that a param may well hold the same."""
    return st.text("AB", max_size=min(2, longest)).map(lambda text: Lit(text.encode()))


def of_kind(names, kind):
    """Those of the names that have this type."""
    return [name for name in names if name.type.kind == kind]


@st.composite
def numbers(draw, names, kind, depth=2):
    """An expression of this type with at least one name in it."""
    leaf = draw(st.sampled_from(of_kind(names, kind)))
    if depth == 0 or draw(st.integers(0, 2)) == 0:
        return leaf
    other = draw(st.one_of(literals(kind), numbers(names, kind, depth - 1)))
    inner = draw(numbers(names, kind, depth - 1))
    another = "u64" if kind == "i64" else "i64"
    shapes = ["+", "+", "+", "-", "*", "/", "%", "min", "max"] + (["abs", "neg"] if kind == "i64" else [])
    shapes += ["convert"] if of_kind(names, another) else []
    shape = draw(st.sampled_from(shapes))
    if shape == "convert":
        return Convert(kind, draw(numbers(names, another, depth - 1)))
    if shape in ("min", "max"):
        return Call(shape, (inner, other), kind)
    if shape == "abs":
        return Call("abs", (inner,), kind)
    if shape == "neg":
        return Unary("-", inner)
    return Binary(shape, inner, other, kind)


@st.composite
def atoms(draw, names):
    """A comparison that some values make true and others false."""
    kinds = [kind for kind in ("u64", "i64", "bool", "bytes") if of_kind(names, kind)]
    kind = draw(st.sampled_from(kinds))
    if kind == "bool":
        name = draw(st.sampled_from(of_kind(names, "bool")))
        return draw(st.sampled_from([name, Unary("!", name), Binary("==", name, Lit(True), "bool"),
                                     Binary("!=", name, Lit(True), "bool")]))
    if kind == "bytes":
        left = draw(st.sampled_from(of_kind(names, "bytes")))
        others = [name for name in of_kind(names, "bytes") if name != left]
        right = draw(st.one_of(texts(left.type.longest), *[st.sampled_from(others)] * bool(others)))
        return Binary(draw(st.sampled_from(["==", "!="])), left, right, "bytes")
    op = draw(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]))
    left = draw(st.sampled_from(of_kind(names, kind)))
    others = [name for name in of_kind(names, kind) if name != left]
    if others and draw(st.booleans()):
        right = draw(st.sampled_from(others))
        if draw(st.booleans()):
            left = Binary(draw(st.sampled_from("+-*")), left, right, kind)
            return Binary(op, left, Lit(draw(st.integers(1, 1000))), kind)
        return Binary(op, left, right, kind)
    return Binary(op, left, Lit(draw(st.integers(1, 1000))), kind)


@st.composite
def guards(draw, names):
    """None, or comparisons of which no two need speak of the same thing: it can always hold."""
    if not names or draw(st.integers(0, 3)) == 0:
        return None
    guard = draw(atoms(names))
    if draw(st.booleans()):
        return guard
    rest = [name for name in names if name.name not in guard.text().replace("(", " ").split()]
    op = draw(st.sampled_from(["&&", "||"]))
    other = draw(atoms(rest if op == "&&" and rest else names))
    if op == "&&" and not rest:
        return guard
    left, right = (guard, other) if draw(st.booleans()) else (other, guard)
    return Binary(op, left, right, "bool")


@st.composite
def effects(draw, fields, params):
    """Assignments to some of the fields, each from all names."""
    found = []
    for field in fields:
        if draw(st.booleans()):
            continue
        kind, names = field.type.kind, list(fields) + list(params)
        if kind in LIMITS:
            op = draw(st.sampled_from(["=", "=", "+=", "+=", "-="]))
            value = draw(st.one_of(literals(kind), numbers(names, kind)))
        elif kind == "bool":
            op, value = "=", draw(st.one_of(atoms(names), st.booleans().map(Lit)))
        else:
            fitting = [n for n in of_kind(names, "bytes") if n.type.longest <= field.type.longest]
            op, value = "=", draw(st.one_of(st.sampled_from(fitting), texts(field.type.longest)))
        found.append(Effect(field, op, value))
    return tuple(found)


TYPES = st.sampled_from(["u64", "u64", "u64", "i64", "i64", "bool", "bytes"]).flatmap(
    lambda kind: st.builds(Type, st.just(kind), st.integers(1, 64) if kind == "bytes" else st.just(0)))


@st.composite
def invariants(draw, fields):
    """Bounds that hold while all is zero."""
    found = []
    for kind in LIMITS:
        mine = of_kind(fields, kind)
        if mine and draw(st.integers(0, 2)) == 0:
            left = draw(st.sampled_from(mine))
            right = draw(st.one_of(st.sampled_from(mine), st.integers(1, 10**6).map(Lit)))
            if left != right:
                found.append(Binary("<=", left, right, kind))
    return tuple(found)


@st.composite
def transitions(draw, origin, to, fields, events):
    """One edge with a label."""
    event = draw(st.sampled_from(sorted(events)))
    params = list(events[event])
    names = params if origin == "[*]" else list(fields) + params  # a new entity's fields are all zero
    return Transition(origin, to, event, draw(guards(names)),
                      draw(effects(fields, events[event])))


@st.composite
def contracts(draw, name="c", version=1):
    """A contract that the checker must take: every state can be reached, and an end from each."""
    fields = tuple(Name(f"f{i}", draw(TYPES)) for i in range(draw(st.integers(0, 5))))
    events = {f"E{i}": tuple(Name(f"p{j}", draw(TYPES)) for j in range(draw(st.integers(0, 3))))
              for i in range(draw(st.integers(1, 4)))}
    states = [f"S{i}" for i in range(draw(st.integers(1, 5)))]
    edges = []
    initial = states[0] if draw(st.booleans()) else None
    if not initial:
        edges.append(("[*]", states[0]))
    edges += [(states[draw(st.integers(0, i - 1))], states[i]) for i in range(1, len(states))]
    living = states[:-1] if len(states) > 1 else states
    for _ in range(draw(st.integers(1, 6))):
        edges.append((draw(st.sampled_from(living)), draw(st.sampled_from(states))))
    if len(states) > 1:
        edges += [(state, states[-1]) for state in living if (state, states[-1]) not in edges]
    found = tuple(draw(transitions(a, b, fields, events)) for a, b in draw(st.permutations(edges)))
    used = {t.event: events[t.event] for t in found}
    return Contract(name, version, fields, used, initial, found,
                    (states[-1],) if len(states) > 1 else (), draw(invariants(fields)))


@st.composite
def upgrades(draw, old):
    """A later version: every field and state is still there, one field may be new, and the rules are others."""
    fields = old.fields + ((Name(f"f{len(old.fields)}", draw(TYPES)),) if draw(st.booleans()) else ())
    changed = tuple(
        draw(transitions(t.origin, t.to, fields, {t.event: old.events[t.event]}))
        if draw(st.booleans()) else t for t in old.transitions)
    return dataclasses.replace(old, version=old.version + draw(st.integers(1, 3)), fields=fields,
                               transitions=changed)


def values(kind):
    """Values of a param: small ones, edges, anything."""
    if kind.kind in LIMITS:
        return st.one_of(st.integers(0, 1100), st.sampled_from(EDGES[kind.kind]),
                         st.integers(*LIMITS[kind.kind]))
    if kind.kind == "bool":
        return st.booleans()
    return st.one_of(st.binary(max_size=kind.longest), st.sampled_from([b"", b"A", b"AB"[:kind.longest]]))


def pick(rng, kind):
    """The same from a random generator, where many are needed."""
    if kind.kind in LIMITS:
        return rng.choice([rng.randrange(13), rng.randrange(1100), rng.randrange(1100),
                           rng.choice(EDGES[kind.kind]), rng.randint(*LIMITS[kind.kind])])
    if kind.kind == "bool":
        return rng.random() < 0.5
    return rng.choice([b"", b"A", b"B", b"AB", rng.randbytes(64)])[:kind.longest]


def spelled(value):
    """A value as on the wire."""
    return value if isinstance(value, bytes) else str(value).lower().encode()
