// The context library from C++: variables bound for a block, a run whose function throws, another thread, a plugin's
// type with destroy and equal.  Exits with the number of the first check that fails.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include <satchel/context.h>

static int checks;

static void check(bool good, const char *what)
{
    checks++;
    if (good)
        return;
    std::fprintf(stderr, "check %d failed: %s\n", checks, what);
    std::exit(checks);
}

static int destroyed;

static void destroy_string(void *data)
{
    destroyed++;
    delete static_cast<std::string *>(data);
}

static bool equal_strings(const void *a, const void *b)
{
    return *static_cast<const std::string *>(a) == *static_cast<const std::string *>(b);
}

static const satchel_type string_type = {sizeof(satchel_type), "std::string", destroy_string, equal_strings, nullptr,
                                         nullptr};

static int throw_something(void *var)
{
    satchel_set(static_cast<satchel_var *>(var), new std::string("inside"), nullptr);
    throw std::runtime_error("thrown through a run");
}

static void *read_on_thread(void *var)
{
    void *data = nullptr;
    satchel_get(static_cast<satchel_var *>(var), &data);
    return new std::string(data ? *static_cast<std::string *>(data) : "nothing");
}

static const char *text_of(const satchel_var *var)
{
    void *data = nullptr;
    return satchel_get(var, &data) == SATCHEL_OK ? static_cast<std::string *>(data)->c_str() : "";
}

int main()
{
    satchel_var_spec spec = {};
    spec.struct_size = sizeof spec;
    spec.name = "cxx";
    spec.type = &string_type;
    satchel_var *var = nullptr;
    check(satchel_var_new(&spec, &var) == SATCHEL_OK, "a variable is made");
    {
        SATCHEL_BIND(var, new std::string("outer"));
        check(std::strcmp(text_of(var), "outer") == 0, "bound for the block");
        {
            SATCHEL_BIND(var, new std::string("inner"));
            check(std::strcmp(text_of(var), "inner") == 0, "bound for the inner block");
        }
        check(destroyed == 1, "the inner value is gone");
        check(std::strcmp(text_of(var), "outer") == 0, "and the outer one is back");

        satchel_context *context = satchel_context_new();
        bool caught = false;
        try {
            int result = 0;
            satchel_context_run(context, throw_something, var, &result);
        } catch (const std::runtime_error &) {
            caught = true;
        }
        check(caught, "an exception passes through a run");
        check(!satchel_context_entered(context), "which was left");
        check(std::strcmp(text_of(var), "outer") == 0, "the caller's own bindings are current again");
        check(satchel_context_len(context) == 1, "what was set stayed in the context");
        satchel_context_unref(context);

        pthread_t thread;
        void *seen = nullptr;
        check(satchel_thread_create(&thread, nullptr, read_on_thread, var) == SATCHEL_OK, "a thread is started");
        check(pthread_join(thread, &seen) == 0, "and joined");
        check(*static_cast<std::string *>(seen) == "outer", "it saw its creator's binding");
        delete static_cast<std::string *>(seen);
    }
    satchel_context *a = satchel_context_new(), *b = satchel_context_new();
    satchel_value *one = nullptr, *two = nullptr;
    check(satchel_value_new(&string_type, new std::string("x"), &one) == SATCHEL_OK, "a value");
    check(satchel_value_new(&string_type, new std::string("x"), &two) == SATCHEL_OK, "and an equal one");
    satchel_context *with_one = nullptr, *with_two = nullptr;
    check(satchel_context_with(a, var, one, &with_one) == SATCHEL_OK, "with the one");
    check(satchel_context_with(b, var, two, &with_two) == SATCHEL_OK, "with the other");
    check(satchel_context_equal(with_one, with_two), "equal by the type's own measure");
    satchel_context_unref(a);
    satchel_context_unref(b);
    satchel_context_unref(with_one);
    satchel_context_unref(with_two);
    satchel_value_unref(one);
    satchel_value_unref(two);
    satchel_var_unref(var);
    check(destroyed == 5, "every string was destroyed once");
    std::printf("%d checks\n", checks);
    return 0;
}
