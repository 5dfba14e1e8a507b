/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a decision costs with few and with many rules: `ninja -C build bench/bench-policy && build/bench/bench-policy`.
 * Rounds of each size take turns; the figures are medians. The messages are spread over all rules, and half of them
 * match none.
 */
#include "policy.h"
#include "strbuf.h"

#define ROUNDS 31
#define MESSAGES 4096
#define DECISIONS 40960

static const unsigned sizes[] = { 10, 100, 1000, 10000 };

typedef struct Case {
        Policy *policy;
        char *names;
        PolicyMessage messages[MESSAGES];
        double ns[ROUNDS];
} Case;

static const char *vm_property(_unused_ void *userdata, const char *name)
{
        return streq(name, "type") ? "svm" : "true";
}

static int case_init(Case *c, unsigned n)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        uint64_t seed = 7;

        strbuf_add(&b, "deny all\n");
        for (unsigned i = 1; i < n; i++)
                strbuf_addf(&b, "%s destination com.example.service%u interface com.example.interface%u member method%u%s\n",
                            i % 10 == 9 ? "deny" : "allow", i, i % 100, i, i % 3 == 0 ? " if-boolean p true" : "");
        if (b.oom || policy_parse(b.data, b.len, "bench", NULL, &c->policy) < 0)
                return -1;
        c->names = malloc(MESSAGES * 3 * 64);
        if (!c->names)
                return -1;
        for (unsigned i = 0; i < MESSAGES; i++) {
                char *names = c->names + i * 3 * 64;
                unsigned k;

                seed = seed * 6364136223846793005u + 1442695040888963407u;
                k = (unsigned) (seed >> 33) % n + (seed >> 60 & 1) * 1000000;
                snprintf(names, 64, "com.example.service%u", k);
                snprintf(names + 64, 64, "com.example.interface%u", k % 100);
                snprintf(names + 128, 64, "method%u", k);
                c->messages[i] = (PolicyMessage) { .type = POLICY_CALL, .path = "/", .destination = names,
                                                   .interface = names + 64, .member = names + 128 };
        }
        return 0;
}

static int by_value(const void *a, const void *b)
{
        double x = *(const double *) a, y = *(const double *) b;

        return x < y ? -1 : x > y;
}

int main(void)
{
        static Case cases[ELEMENTSOF(sizes)];
        PolicyClient client = { .domid = 5, .uuid = "u", .property = vm_property };
        unsigned allowed = 0;
        double first = 0;

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++)
                if (case_init(cases + i, sizes[i]) < 0)
                        return 1;
        for (unsigned round = 0; round < ROUNDS; round++)
                for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                        uint64_t start = now_usec();

                        for (unsigned k = 0; k < DECISIONS; k++)
                                allowed += policy_decide(cases[i].policy, &client, cases[i].messages + k % MESSAGES).allow;
                        cases[i].ns[round] = (double) (now_usec() - start) * 1000 / DECISIONS;
                }
        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                qsort(cases[i].ns, ROUNDS, sizeof(double), by_value);
                if (i == 0)
                        first = cases[i].ns[ROUNDS / 2];
                printf("%6u rules: %6.1f ns for a decision, %.2f times that with %u\n", sizes[i], cases[i].ns[ROUNDS / 2],
                       cases[i].ns[ROUNDS / 2] / first, sizes[0]);
                policy_unref(cases[i].policy);
                free(cases[i].names);
        }
        return allowed == 0;
}
