"""libsatchel.so through ctypes, without a C compiler's help: structs laid out by hand, callbacks in Python.

usage: ffi.py LIBRARY"""
import ctypes as c
import sys

lib = c.CDLL(sys.argv[1])
OK, UNSET, EINVAL, EENTERED, ENOTCURRENT, EUSED, EVAR, ECONTEXT = 0, 1, -2, -3, -4, -5, -6, -7

RUN = c.CFUNCTYPE(c.c_int, c.c_void_p)
EACH = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_void_p, c.c_void_p)
PUT = c.CFUNCTYPE(c.c_int, c.c_char_p, c.c_void_p, c.c_size_t, c.c_void_p)
DESTROY = c.CFUNCTYPE(None, c.c_void_p)
EQUAL = c.CFUNCTYPE(c.c_bool, c.c_void_p, c.c_void_p)


class Token(c.Structure):
    _fields_ = [("opaque", c.c_uint64 * 8)]


class Type(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("name", c.c_char_p), ("destroy", DESTROY), ("equal", EQUAL),
                ("encode", c.c_void_p), ("decode", c.c_void_p)]


class Spec(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("name", c.c_char_p), ("type", c.POINTER(Type)),
                ("default_data", c.c_void_p), ("header", c.c_char_p), ("max_len", c.c_size_t), ("flags", c.c_uint)]


class Field(c.Structure):
    _fields_ = [("name", c.c_char_p), ("value", c.c_char_p), ("name_len", c.c_size_t), ("value_len", c.c_size_t)]


class Counts(c.Structure):
    _fields_ = [("struct_size", c.c_size_t)] + [(n, c.c_uint64)
                                                for n in ("vars", "values", "contexts", "pending_tokens", "misuse")]


for name in ("satchel_context_new", "satchel_capture", "satchel_context_copy", "satchel_token_var",
             "satchel_value_data"):
    getattr(lib, name).restype = c.c_void_p
lib.satchel_tenant.restype = c.c_char_p
lib.satchel_context_len.restype = c.c_size_t
for name in ("satchel_context_equal", "satchel_context_has", "satchel_context_entered", "satchel_token_used"):
    getattr(lib, name).restype = c.c_bool


def p(pointer):
    return c.c_void_p(pointer)


def check(got, wanted):
    assert got == wanted, (got, wanted)


def get(var):
    data = c.c_void_p()
    status = lib.satchel_get(var, c.byref(data))
    return c.string_at(data.value) if status == OK and data.value else status


def counts():
    out = Counts(struct_size=c.sizeof(Counts))
    lib.satchel_get_counts(c.byref(out))
    return out.vars, out.values, out.contexts, out.pending_tokens


destroyed = []
on_destroy = DESTROY(lambda data: destroyed.append(data))
on_equal = EQUAL(lambda a, b: a == b)
kind = Type(c.sizeof(Type), b"number", on_destroy, on_equal, None, None)

before = counts()
var, other = c.c_void_p(), c.c_void_p()
check(lib.satchel_var_string(b"v", b"dflt", None, c.byref(var)), OK)
spec = Spec(struct_size=c.sizeof(Spec), name=b"n", type=c.pointer(kind))
check(lib.satchel_var_new(c.byref(spec), c.byref(other)), OK)

# get, set, reset, and the order of a reset's errors
check(get(var), b"dflt")
first, second = Token(), Token()
check(lib.satchel_set_string(var, b"one", c.byref(first)), OK)
check(lib.satchel_set_string(var, b"two", c.byref(second)), OK)
check(get(var), b"two")
check(lib.satchel_reset(other, c.byref(second)), EVAR)
check(lib.satchel_reset(var, c.byref(second)), OK)
check(get(var), b"one")
check(lib.satchel_reset(other, c.byref(second)), EUSED)
check(lib.satchel_reset(var, c.byref(Token())), EINVAL)
assert lib.satchel_token_used(c.byref(second)) and not lib.satchel_token_used(c.byref(first))

# a value of a type whose callbacks are here
check(lib.satchel_set(other, p(4711), None), OK)
copy = p(lib.satchel_capture())
assert lib.satchel_context_equal(copy, None)

# run, and what a walk sees
seen = {}


def walk(key, data, arg):
    seen[key] = data
    lib.satchel_set_string(var, b"inner", None)
    return 0


def run(arg):
    check(lib.satchel_context_run(copy, on_run, None, None), EENTERED)
    check(lib.satchel_reset(var, c.byref(first)), ECONTEXT)
    check(lib.satchel_context_each(None, on_each, None), OK)
    check(get(var), b"inner")
    return 42


on_run, on_each = RUN(run), EACH(walk)
result = c.c_int()
check(lib.satchel_context_run(copy, on_run, None, c.byref(result)), OK)
check(result.value, 42)
check(set(seen), {var.value, other.value})
check(seen[other.value], 4711)
check(get(var), b"one")
check(lib.satchel_context_len(copy), 2)
assert not lib.satchel_context_equal(copy, None)
check(lib.satchel_context_exit(copy), ENOTCURRENT)

# the wire
fields = (Field * 2)(Field(b"x-tenant-id", b"acme", 11, 4), Field(b"baggage", b"k=v", 7, 3))
wired = c.c_void_p()
check(lib.satchel_extract(fields, c.c_size_t(2), c.byref(wired), None, None), OK)
out = {}


def put(name, value, length, arg):
    out[name] = c.string_at(value, length)
    return 0


on_put = PUT(put)
check(lib.satchel_inject(wired, on_put, None), OK)
check(out, {b"X-Tenant-ID": b"acme", b"baggage": b"k=v"})
check(lib.satchel_context_enter(wired), OK)
check(lib.satchel_tenant(), b"acme")
check(lib.satchel_context_exit(wired), OK)
check(lib.satchel_tenant(), None)

# an end for everything, once
lib.satchel_context_unref(wired)
lib.satchel_token_clear(c.byref(first))
check(lib.satchel_thread_reset(), OK)
check(destroyed, [])
lib.satchel_context_unref(copy)
check(destroyed, [4711])
lib.satchel_var_unref(var)
lib.satchel_var_unref(other)
check(counts(), before)
