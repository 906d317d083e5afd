/* The fair share as a whole: tenants with weights, task types and lengths of all kinds on some workers, in a time that
 * is simulated.  What one decision of the scheduler is, test_scheduler.c shows. */
#include <math.h>

#include "tests/unit/scheduler_fixture.h"

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)
#define MOST_TENANTS 4
#define MOST_WORKERS 32

/* One tenant that always has `backlog` tasks waiting, until they are used up. */
struct user {
    const char *name;
    int64_t (*length)(struct user *user); /* of its next attempt */
    int64_t ns;                           /* what length makes use of */
    int types[3], n_types;                /* in turn; none: plain */
    int backlog;
    double got; /* run time that ended so far */
    uint64_t dice;
    int submitted;
};

struct busy {
    struct entry *entry;
    struct user *user;
    int64_t expected, length, until;
};

struct simulation {
    struct fixture *f;
    struct user *users;
    int n_users, workers, n_busy;
    int64_t now;
    struct busy busy[MOST_WORKERS];
};

static double dice(struct user *user) /* 0 ..< 1 */
{
    user->dice = user->dice * 6364136223846793005ULL + 1442695040888963407ULL;
    return (double)(user->dice >> 11) / 9007199254740992.0;
}

static int64_t always(struct user *user)
{
    return user->ns;
}

static int64_t mixed(struct user *user) /* 1 ms, 10 ms, 100 ms: most of them short */
{
    double at = dice(user);
    return at < 0.7 ? MS : at < 0.95 ? 10 * MS : 100 * MS;
}

static int64_t heavy_tailed(struct user *user) /* Pareto, alpha 1.3: one in a thousand takes 200 times the least */
{
    double length = 1e6 * pow(1 - dice(user), -1 / 1.3);
    return length > 1e9 ? SECOND : (int64_t)length;
}

static void submit_one(struct simulation *sim, struct user *user)
{
    int type = user->n_types ? user->types[user->submitted % user->n_types] : PLAIN;
    (void)queue(sim->f, user->name, type, 4);
    user->submitted++;
}

static void keep_backlogs(struct simulation *sim)
{
    for (int i = 0; i < sim->n_users; i++) {
        const struct tenant *tenant = scheduler_tenant(&sim->f->s, slice_str(sim->users[i].name));
        for (int n = tenant ? (int)tenant->queued : 0; n < sim->users[i].backlog; n++)
            submit_one(sim, &sim->users[i]);
    }
}

static struct user *user_of(const struct simulation *sim, const struct entry *entry)
{
    const char *name = scheduler_lane(&sim->f->s, entry)->tenant->name;
    for (int i = 0; i < sim->n_users; i++)
        if (strcmp(sim->users[i].name, name) == 0)
            return &sim->users[i];
    fail_msg("%s is not in this simulation", name);
    return NULL;
}

static void dispatch(struct simulation *sim)
{
    struct entry *entry;
    while (sim->n_busy < sim->workers && (entry = scheduler_pick(&sim->f->s)) != NULL) {
        struct busy *busy = &sim->busy[sim->n_busy++];
        *busy = (struct busy){.entry = entry, .user = user_of(sim, entry)};
        busy->expected = scheduler_start(&sim->f->s, entry);
        busy->length = busy->user->length(busy->user);
        busy->until = sim->now + busy->length;
    }
}

/* Lets time go on to the next end. */
static struct user *end_one(struct simulation *sim)
{
    struct busy *first = &sim->busy[0];
    assert_true(sim->n_busy > 0);
    for (int i = 1; i < sim->n_busy; i++)
        if (sim->busy[i].until < first->until)
            first = &sim->busy[i];
    struct busy ended = *first;
    *first = sim->busy[--sim->n_busy];
    sim->now = ended.until;
    ended.user->got += (double)ended.length;
    finish(sim->f, ended.entry, ended.expected, ended.length);
    return ended.user;
}

static void simulate(struct simulation *sim, int64_t duration)
{
    int64_t end = sim->now + duration;
    while (sim->now < end) {
        keep_backlogs(sim);
        dispatch(sim);
        (void)end_one(sim);
    }
}

static void forget(struct simulation *sim)
{
    for (int i = 0; i < sim->n_users; i++)
        sim->users[i].got = 0;
}

static void expect_shares(const struct simulation *sim, const double *weights_of, double tolerance)
{
    double total = 0, weight = 0;
    for (int i = 0; i < sim->n_users; i++) {
        total += sim->users[i].got;
        weight += weights_of[i];
    }
    for (int i = 0; i < sim->n_users; i++) {
        double ratio = sim->users[i].got / total / (weights_of[i] / weight);
        if (ratio < 1 - tolerance || ratio > 1 + tolerance)
            fail_msg("%s has %.4f of its share, with %d workers", sim->users[i].name, ratio, sim->workers);
    }
}

static void end_all(struct simulation *sim)
{
    while (sim->n_busy)
        (void)end_one(sim);
}

/* What is left over from a simulation is taken out, so that the next one starts afresh. */
static void drop_queued(struct simulation *sim)
{
    struct entry *entry;
    end_all(sim);
    while ((entry = scheduler_pick(&sim->f->s)) != NULL) {
        scheduler_dequeue(&sim->f->s, entry);
        scheduler_detach(&sim->f->s, entry);
        entries_remove(&sim->f->entries, entry);
    }
}

static const double one_two_four[] = {1, 2, 4};

/* The three tenants on 1, 3 and 16 workers. */
static void expect_one_two_four(struct fixture *f, const struct user *users, int64_t duration)
{
    static const int workers[] = {1, 3, 16};
    for (size_t i = 0; i < sizeof workers / sizeof workers[0]; i++) {
        struct user copy[3];
        memcpy(copy, users, sizeof copy);
        for (int n = 0; n < 3; n++)
            copy[n].dice = (uint64_t)n * 77 + i;
        struct simulation sim = {.f = f, .users = copy, .n_users = 3, .workers = workers[i]};
        simulate(&sim, duration);
        expect_shares(&sim, one_two_four, 0.05);
        for (int window = 0; window < 3; window++) { /* and in each part of the time */
            forget(&sim);
            simulate(&sim, duration);
            expect_shares(&sim, one_two_four, 0.05);
        }
        drop_queued(&sim);
    }
}

static void test_equal_lengths(void **state)
{
    expect_one_two_four(*state,
                        (const struct user[]){{"w1", always, 10 * MS, .backlog = 50},
                                              {"w2", always, 10 * MS, .backlog = 50},
                                              {"w4", always, 10 * MS, .backlog = 50}},
                        30 * SECOND);
}

static void test_unequal_lengths(void **state)
{
    expect_one_two_four(*state,
                        (const struct user[]){{"w1", always, 100 * MS, .backlog = 50},
                                              {"w2", always, MS / 2, .backlog = 50},
                                              {"w4", always, 7 * MS, .backlog = 50}},
                        60 * SECOND);
}

static void test_one_tenant_with_mixed_lengths(void **state)
{
    expect_one_two_four(*state,
                        (const struct user[]){{"w1", mixed, .backlog = 50},
                                              {"w2", always, 3 * MS, .backlog = 50},
                                              {"w4", always, 20 * MS, .backlog = 50}},
                        100 * SECOND);
}

static void test_heavy_tails(void **state)
{
    expect_one_two_four(*state,
                        (const struct user[]){{"w1", heavy_tailed, .backlog = 50},
                                              {"w2", heavy_tailed, .backlog = 50},
                                              {"w4", always, 2 * MS, .backlog = 50}},
                        200 * SECOND);
}

static void test_several_types(void **state)
{
    expect_one_two_four(*state,
                        (const struct user[]){{"w1", mixed, .types = {PLAIN, QUICK}, .n_types = 2, .backlog = 50},
                                              {"w2", always, MS, .types = {QUICK}, .n_types = 1, .backlog = 50},
                                              {"w4", always, 30 * MS, .types = {PLAIN}, .n_types = 1, .backlog = 50}},
                        100 * SECOND);
}

/* Only what a type's concurrency lets through is shared, beside a tenant that keeps all other workers busy. */
static void test_a_limited_type_is_shared_by_weight(void **state)
{
    struct user users[] = {
        {"w1", always, 20 * MS, .types = {LIMITED}, .n_types = 1, .backlog = 20},
        {"w2", always, 5 * MS, .types = {LIMITED}, .n_types = 1, .backlog = 20},
        {"w4", always, 10 * MS, .types = {LIMITED}, .n_types = 1, .backlog = 20},
        {"flood", always, 10 * MS, .backlog = 50},
    };
    struct simulation sim = {.f = *state, .users = users, .n_users = 4, .workers = 16};
    simulate(&sim, 30 * SECOND);
    forget(&sim);
    simulate(&sim, 60 * SECOND);
    sim.n_users = 3;
    expect_shares(&sim, one_two_four, 0.05);
    double all = users[0].got + users[1].got + users[2].got;
    assert_true(all > 0.98 * 2 * 60e9); /* both slots are in use all the time */
    assert_true(users[3].got > 0.98 * 14 * 60e9);
    sim.n_users = 4;
    drop_queued(&sim);
}

/* Who comes to a limited type that others contend for has its share of it from the start, however far those are behind
 * the tenants that use the other workers. */
static void test_a_newcomer_to_a_limited_type(void **state)
{
    struct user users[] = {
        {"old1", always, 10 * MS, .types = {LIMITED}, .n_types = 1, .backlog = 20},
        {"old2", always, 10 * MS, .types = {LIMITED}, .n_types = 1, .backlog = 20},
        {"flood", always, 10 * MS, .backlog = 100},
        {"new", always, 10 * MS, .types = {LIMITED}, .n_types = 1, .backlog = 20},
    };
    struct simulation sim = {.f = *state, .users = users, .n_users = 3, .workers = 16};
    simulate(&sim, 60 * SECOND);
    forget(&sim);
    sim.n_users = 4;
    simulate(&sim, 3 * SECOND);
    assert_true(users[3].got > 0.9 * 2 * 3e9 / 3);
    assert_true(users[0].got > 0.9 * 2 * 3e9 / 3);
    drop_queued(&sim);
}

/* What a tenant could not use because its type was at its limit is no credit for its other tasks, */
static void test_being_limited_is_no_credit(void **state)
{
    struct user users[] = {
        {"limited", always, 10 * MS, .types = {LIMITED}, .n_types = 1, .backlog = 20},
        {"busy", always, 10 * MS, .backlog = 50},
    };
    struct simulation sim = {.f = *state, .users = users, .n_users = 2, .workers = 8};
    simulate(&sim, 60 * SECOND);
    users[0].types[0] = PLAIN;
    users[0].backlog = 100;
    forget(&sim);
    simulate(&sim, 4 * SECOND);
    assert_true(users[1].got > 0.45 * 8 * 4e9);
    assert_true(users[0].got > 0.45 * 8 * 4e9);
    drop_queued(&sim);
}

/* nor what it could not use while it was held. */
static void test_being_paused_is_no_credit(void **state)
{
    struct fixture *f = *state;
    struct user users[] = {
        {"held", always, 10 * MS, .backlog = 20},
        {"busy", always, 10 * MS, .backlog = 20},
    };
    struct simulation sim = {.f = f, .users = users, .n_users = 2, .workers = 4};
    simulate(&sim, SECOND);
    paused = "held";
    scheduler_refresh(&f->s);
    simulate(&sim, 60 * SECOND);
    paused = "";
    scheduler_refresh(&f->s);
    forget(&sim);
    simulate(&sim, 2 * SECOND);
    expect_shares(&sim, (const double[]){1, 1}, 0.05);
    drop_queued(&sim);
}

/* Away for a minute, or used by nobody else meanwhile: neither gives nor costs more than a task. */
static void test_idleness_gives_nothing_and_costs_nothing(void **state)
{
    struct user users[] = {
        {"comes", always, 10 * MS, .backlog = 20},
        {"stays", always, 10 * MS, .backlog = 20},
    };
    for (int workers = 1; workers <= 8; workers *= 2) {
        struct simulation sim = {.f = *state, .users = users, .n_users = 2, .workers = workers};
        simulate(&sim, 5 * SECOND);
        for (int round = 0; round < 20; round++) {
            int alone = round % 2; /* one of them, then both */
            users[!alone].backlog = 0;
            simulate(&sim, 10 * SECOND);
            users[!alone].backlog = 20;
            forget(&sim);
            simulate(&sim, 400 * MS);
            double apart = fabs(users[0].got - users[1].got);
            if (apart > (double)((2 + workers) * 10 * MS)) /* one task, and what runs at both ends of the time */
                fail_msg("%g ms apart with %d workers", apart / 1e6, workers);
        }
        drop_queued(&sim);
    }
}

/* What ran while nobody else waited is nobody's loss: all that have come back begin alike. */
static void test_an_idle_daemon_forgets(void **state)
{
    struct user users[] = {{"long", always, 3600 * SECOND, .backlog = 0}, {"other", always, 10 * MS, .backlog = 0}};
    struct simulation sim = {.f = *state, .users = users, .n_users = 2, .workers = 4};
    for (int i = 0; i < 4; i++)
        submit_one(&sim, &users[0]);
    dispatch(&sim);
    end_all(&sim);
    submit_one(&sim, &users[1]); /* the type is known to be quick again */
    dispatch(&sim);
    end_all(&sim);
    users[0].ns = 10 * MS;
    users[0].backlog = users[1].backlog = 20;
    forget(&sim);
    simulate(&sim, 2 * SECOND);
    expect_shares(&sim, (const double[]){1, 1}, 0.05);
    drop_queued(&sim);
}

/* A type that was slow and is quick now: its tenant was charged too much in advance, which is given back, and who comes
 * meanwhile does not wait for as long as the charge was. */
static void test_a_charge_that_was_too_high_harms_no_newcomer(void **state)
{
    struct user users[] = {{"old", always, 10 * SECOND, .backlog = 20}, {"new", always, 10 * MS, .backlog = 20}};
    struct simulation sim = {.f = *state, .users = users, .n_users = 1, .workers = 8};
    simulate(&sim, 60 * SECOND);
    users[0].ns = 10 * MS;
    drop_queued(&sim);
    keep_backlogs(&sim);
    dispatch(&sim);
    for (int i = 0; i < 8; i++)
        (void)end_one(&sim);
    sim.n_users = 2;
    forget(&sim);
    simulate(&sim, SECOND);
    if (users[1].got < 0.4 * 8e9)
        fail_msg("%g beside %g", users[1].got, users[0].got);
    drop_queued(&sim);
}

/* Weights that change while all are backlogged count from the next task on: no old debts at the new price. */
static void test_weights_change_at_run_time(void **state)
{
    struct fixture *f = *state;
    struct user users[] = {
        {"w0.001", always, 10 * MS, .backlog = 50},
        {"plain", always, 10 * MS, .backlog = 50},
    };
    for (int workers = 1; workers <= 4; workers += 3) {
        struct simulation sim = {.f = f, .users = users, .n_users = 2, .workers = workers};
        new_weight = 1;
        scheduler_refresh(&f->s);
        simulate(&sim, 5 * SECOND);
        static const double weight_of[] = {1000, 4000, 500, 100, 1000};
        for (size_t i = 0; i < sizeof weight_of / sizeof weight_of[0]; i++) {
            new_weight = weight_of[i];
            scheduler_refresh(&f->s);
            forget(&sim);
            simulate(&sim, 5 * SECOND);
            expect_shares(&sim, (const double[]){weight_of[i] / 1000, 1}, 0.05);
        }
        drop_queued(&sim);
    }
}

/* A tenant's own priorities decide what it runs, and nothing else: they win no time from others. */
static void test_priorities_count_inside_a_tenant_alone(void **state)
{
    struct fixture *f = *state;
    for (int n = 0; n < 100; n++) {
        (void)queue(f, "high", n % 2 ? PLAIN : QUICK, 9);
        (void)queue(f, "low", PLAIN, 0);
        (void)queue(f, "both", n % 2 ? PLAIN : QUICK, n % 10);
    }
    int n_of[3] = {0}, last = 9;
    for (int n = 0; n < 300; n++) {
        struct entry *entry = scheduler_pick(&f->s);
        const char *name = scheduler_lane(&f->s, entry)->tenant->name;
        n_of[*name == 'h' ? 0 : *name == 'l' ? 1 : 2]++;
        if (*name == 'b') {
            assert_true(entry->priority <= last);
            last = entry->priority;
        }
        finish(f, entry, scheduler_start(&f->s, entry), 10 * MS);
        if (n == 149)
            for (int i = 0; i < 3; i++)
                assert_in_range(n_of[i], 46, 54);
    }
    assert_null(scheduler_pick(&f->s));
}

/* 10,000 tenants, two of which flood: each one's first task is run within a round, and so is each second one. */
static void test_ten_thousand_tenants(void **state)
{
    enum { TENANTS = 10000, FLOOD = 15000 };
    struct fixture *f = *state;
    unsigned char *n_of = calloc(TENANTS, 1);
    char name[16];
    assert_non_null(n_of);
    for (int i = 0; i < FLOOD; i++) {
        (void)queue(f, "flood", PLAIN, 9);
        (void)queue(f, "w8.flood", PLAIN, 9);
    }
    for (int i = 0; i < 100; i++)
        run_one(f, 10 * MS);
    for (int i = 0; i < 2 * TENANTS; i++) {
        (void)snprintf(name, sizeof name, "t%d", i % TENANTS);
        (void)queue(f, name, PLAIN, 0);
    }
    for (int round = 1; round <= 2; round++) {
        for (int i = 0; i < TENANTS + 20; i++) {
            struct entry *entry = scheduler_pick(&f->s);
            const char *who = scheduler_lane(&f->s, entry)->tenant->name;
            if (*who == 't')
                n_of[atoi(who + 1)]++;
            finish(f, entry, scheduler_start(&f->s, entry), 10 * MS);
        }
        for (int i = 0; i < TENANTS; i++)
            assert_in_range(n_of[i], round, 2);
    }
    free(n_of);
}

/* Who was woken for a free place but does not take it hands it on. */
static void test_a_free_place_is_not_forgotten(void **state)
{
    struct fixture *f = *state;
    int64_t expected[2];
    struct entry *running[2], *waits_a = NULL;
    for (int i = 0; i < 2; i++)
        running[i] = queue(f, "x", LIMITED, 4);
    for (int i = 0; i < 2; i++)
        expected[i] = scheduler_start(&f->s, scheduler_pick(&f->s));
    waits_a = queue(f, "a", LIMITED, 4);
    struct entry *waits_b = queue(f, "b", LIMITED, 4);
    assert_null(scheduler_pick(&f->s)); /* both are blocked */
    for (int i = 0; i < 2; i++)
        finish(f, running[i], expected[i], MS);
    scheduler_dequeue(&f->s, waits_a); /* canceled before its turn */
    assert_ptr_equal(scheduler_pick(&f->s), waits_b);
    int64_t of_b = scheduler_start(&f->s, waits_b);

    struct entry *second = queue(f, "c", LIMITED, 4), *third = queue(f, "d", LIMITED, 4),
                 *fourth = queue(f, "e", LIMITED, 4);
    int64_t of_second = scheduler_start(&f->s, scheduler_pick(&f->s));
    assert_null(scheduler_pick(&f->s));
    finish(f, second, of_second, MS);
    struct entry *woken = scheduler_pick(&f->s);
    assert_true(woken == third || woken == fourth);
    scheduler_dequeue(&f->s, woken);
    assert_ptr_equal(scheduler_pick(&f->s), woken == third ? fourth : third);
    finish(f, waits_b, of_b, MS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_equal_lengths),
        TEST(test_unequal_lengths),
        TEST(test_one_tenant_with_mixed_lengths),
        TEST(test_heavy_tails),
        TEST(test_several_types),
        TEST(test_a_limited_type_is_shared_by_weight),
        TEST(test_a_newcomer_to_a_limited_type),
        TEST(test_being_limited_is_no_credit),
        TEST(test_being_paused_is_no_credit),
        TEST(test_idleness_gives_nothing_and_costs_nothing),
        TEST(test_an_idle_daemon_forgets),
        TEST(test_a_charge_that_was_too_high_harms_no_newcomer),
        TEST(test_weights_change_at_run_time),
        TEST(test_priorities_count_inside_a_tenant_alone),
        TEST(test_ten_thousand_tenants),
        TEST(test_a_free_place_is_not_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
