"""The context library through a foreign-function interface: nothing but the shared object and its documented layouts.

    python3 ffi.py PATH/libsatchel.so
"""
import ctypes as c
import sys
import threading

lib = c.CDLL(sys.argv[1])
OK, UNSET, EINVAL, EENTERED, EUSED, EVAR, ECONTEXT = 0, 1, -2, -3, -5, -6, -7


class Token(c.Structure):
    _fields_ = [("opaque", c.c_uint64 * 8)]


class Counts(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("vars", c.c_uint64), ("values", c.c_uint64), ("contexts", c.c_uint64),
                ("pending_tokens", c.c_uint64), ("misuse", c.c_uint64)]


class Field(c.Structure):
    _fields_ = [("name", c.c_char_p), ("value", c.c_char_p), ("name_len", c.c_size_t), ("value_len", c.c_size_t)]


class Trace(c.Structure):
    _fields_ = [("trace_id", c.c_uint8 * 16), ("span_id", c.c_uint8 * 8), ("flags", c.c_uint8), ("remote", c.c_bool)]


p = c.c_void_p
for name, result, arguments in (
    ("satchel_var_string", c.c_int, [c.c_char_p, c.c_char_p, c.c_char_p, c.POINTER(p)]),
    ("satchel_var_unref", None, [p]),
    ("satchel_var_name", c.c_char_p, [p]),
    ("satchel_set_string", c.c_int, [p, c.c_char_p, c.POINTER(Token)]),
    ("satchel_get", c.c_int, [p, c.POINTER(c.c_char_p)]),
    ("satchel_reset", c.c_int, [p, c.POINTER(Token)]),
    ("satchel_capture", p, []),
    ("satchel_context_new", p, []),
    ("satchel_context_unref", None, [p]),
    ("satchel_context_len", c.c_size_t, [p]),
    ("satchel_context_enter", c.c_int, [p]),
    ("satchel_context_exit", c.c_int, [p]),
    ("satchel_known_var", p, [c.c_int]),
    ("satchel_tenant", c.c_char_p, []),
    ("satchel_strerror", c.c_char_p, [c.c_int]),
    ("satchel_get_counts", None, [c.POINTER(Counts)]),
    ("satchel_thread_reset", c.c_int, []),
    ("satchel_trace_parse", c.c_int, [c.c_char_p, c.c_size_t, c.POINTER(Trace)]),
    ("satchel_trace_format", None, [c.POINTER(Trace), c.c_char_p]),
    ("satchel_free", None, [p]),
    ("satchel_extract", c.c_int, [c.POINTER(Field), c.c_size_t, c.POINTER(p), p, p]),
    ("satchel_context_to_json", c.c_int, [p, c.c_uint, c.POINTER(p), c.POINTER(c.c_size_t)]),
):
    function = getattr(lib, name)
    function.restype, function.argtypes = result, arguments

VISIT = c.CFUNCTYPE(c.c_int, p, p, p)
RUN = c.CFUNCTYPE(c.c_int, p)
PUT = c.CFUNCTYPE(c.c_int, c.c_char_p, c.c_char_p, c.c_size_t, p)
lib.satchel_context_each.argtypes = [p, VISIT, p]
lib.satchel_context_run.argtypes = [p, RUN, p, c.POINTER(c.c_int)]
lib.satchel_inject.argtypes = [p, PUT, p]

checks = 0


def check(good, what):
    global checks
    checks += 1
    if not good:
        sys.exit(f"check {checks} failed: {what}")


def counts():
    now = Counts(struct_size=c.sizeof(Counts))
    lib.satchel_get_counts(c.byref(now))
    return now.vars, now.values, now.contexts, now.pending_tokens


def variable(name):
    out = p()
    check(lib.satchel_var_string(name, None, None, c.byref(out)) == OK, "a variable is made")
    return out


def get(var):
    out = c.c_char_p()
    status = lib.satchel_get(var, c.byref(out))
    return out.value if status == OK else None


before = counts()
var, other = variable(b"ffi"), variable(b"ffi")
check(get(var) is None, "nothing is bound")
token = Token()
check(lib.satchel_set_string(var, b"one", c.byref(token)) == OK, "set")
check(get(var) == b"one" and get(other) is None, "two variables of one name are two")
check(lib.satchel_reset(other, c.byref(token)) == EVAR, "the token is another variable's")
copy = lib.satchel_capture()
check(lib.satchel_set_string(var, b"two", None) == OK, "set again")
check(lib.satchel_context_len(copy) == 1, "the copy has one binding")

seen = []
inside = Token()


@RUN
def run(_):
    seen.append(get(var))
    lib.satchel_set_string(var, b"inside", c.byref(inside))
    seen.append(get(var))
    seen.append(lib.satchel_context_run(copy, run, None, None))
    seen.append(lib.satchel_reset(var, c.byref(token)))
    return 42


result = c.c_int()
check(lib.satchel_context_run(copy, run, None, c.byref(result)) == OK and result.value == 42, "run")
check(seen == [b"one", b"inside", EENTERED, ECONTEXT], f"what the run saw: {seen}")
check(get(var) == b"two", "sets inside a run stay there")
check(lib.satchel_reset(var, c.byref(inside)) == ECONTEXT, "a token of another context")
check(lib.satchel_reset(var, c.byref(token)) == OK and get(var) is None, "reset")
check(lib.satchel_reset(var, c.byref(token)) == EUSED, "once")

names = []


@VISIT
def visit(each, data, _):
    names.append((lib.satchel_var_name(each), c.cast(data, c.c_char_p).value))
    return 0


check(lib.satchel_context_each(copy, visit, None) == 0 and names == [(b"ffi", b"inside")], "the walk")


def on_thread():
    seen.append((get(var), lib.satchel_context_enter(copy), get(var), lib.satchel_context_exit(copy)))


thread = threading.Thread(target=on_thread)
thread.start()
thread.join()
check(seen[-1] == (None, OK, b"inside", OK), "another thread starts empty and enters")
lib.satchel_context_exit(copy)
lib.satchel_token_clear(c.byref(inside))
lib.satchel_context_unref(copy)

parent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
fields = (Field * 2)(Field(b"traceparent", parent, 11, len(parent)), Field(b"X-Tenant-ID", b"acme", 11, 4))
context, sent = p(), {}


@PUT
def put(name, value, length, _):
    sent[name] = value[:length]
    return 0


check(lib.satchel_extract(fields, 2, c.byref(context), None, None) == OK, "extract")
check(lib.satchel_inject(context, put, None) == 0, "inject")
check(sent == {b"traceparent": parent, b"X-Tenant-ID": b"acme"}, f"what is sent: {sent}")
check(lib.satchel_context_enter(context) == OK and lib.satchel_tenant() == b"acme", "the tenant")
check(lib.satchel_context_exit(context) == OK, "exit")
json, length = p(), c.c_size_t()
check(lib.satchel_context_to_json(context, 0, c.byref(json), c.byref(length)) == OK, "JSON")
check(c.string_at(json, length.value) == b'{"v":1,"vars":{"traceparent":"' + parent + b'","x-tenant-id":"acme"}}',
      "as documented")
lib.satchel_free(json)
lib.satchel_context_unref(context)

trace, text = Trace(), c.create_string_buffer(56)
check(lib.satchel_trace_parse(parent, len(parent), c.byref(trace)) == OK, "a traceparent")
lib.satchel_trace_format(c.byref(trace), text)
check(text.value == parent and trace.flags == 1, "the layout of satchel_trace")

check(lib.satchel_thread_reset() == OK, "the thread's own context is emptied")
lib.satchel_var_unref(var)
lib.satchel_var_unref(other)
check(counts() == before, f"nothing is left: {counts()} after {before}")
print(f"{checks} checks")
