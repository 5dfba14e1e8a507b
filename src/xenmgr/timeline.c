/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* When which phase of the last start was reached, for the question "what takes so long?". */
#include <time.h>

#include "json.h"
#include "lifecycle.h"
#include "log.h"
#include "strbuf.h"

#define PHASES_MAX 32

struct Timeline {
        const char *what;
        uint64_t begin;
        time_t wall;
        size_t n;
        char *failed;
        struct {
                char name[24];
                uint64_t usec;
        } phases[PHASES_MAX];
};

struct Timeline *timeline_free(struct Timeline *t)
{
        if (t)
                free(t->failed);
        free(t);
        return NULL;
}

void timeline_begin(Vm *vm, const char *what, uint64_t asked)
{
        uint64_t now = now_usec();

        vm->timeline = timeline_free(vm->timeline);
        vm->timeline = calloc(1, sizeof *vm->timeline);
        if (vm->timeline)
                *vm->timeline = (struct Timeline) { .what = what, .begin = asked, .wall = time(NULL) - (time_t) ((now - asked) / USEC_PER_SEC) };
        timeline_mark(vm, "begun"); /* until then it waited for its turn */
}

void timeline_mark(Vm *vm, const char *phase)
{
        struct Timeline *t = vm->timeline;

        if (!t || t->n == PHASES_MAX)
                return;
        snprintf(t->phases[t->n].name, sizeof t->phases[t->n].name, "%s", phase);
        t->phases[t->n++].usec = now_usec() - t->begin;
}

bool timeline_mark_once(Vm *vm, const char *phase)
{
        struct Timeline *t = vm->timeline;

        for (size_t i = 0; t && i < t->n; i++)
                if (streq(t->phases[i].name, phase))
                        return false;
        timeline_mark(vm, phase);
        return t && t->n < PHASES_MAX;
}

void timeline_fail(Vm *vm, const char *why)
{
        if (vm->timeline && !vm->timeline->failed)
                vm->timeline->failed = strdup(why);
}

void timeline_log(Vm *vm)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        struct Timeline *t = vm->timeline;

        if (!t || t->n == 0)
                return;
        for (size_t i = 0; i < t->n; i++)
                strbuf_addf(&b, "%s%s %.1f", i > 0 ? ", " : "", t->phases[i].name, (double) t->phases[i].usec / 1000);
        log_info("%s: %s, in ms: %s%s", vm->uuid, t->what, strempty(b.data), t->failed ? "; then it failed" : "");
}

int timeline_json(Vm *vm, char **ret)
{
        _cleanup_json_ json_object *o = json_object_new_object();
        json_object *list = json_object_new_array();
        struct Timeline *t = vm->timeline;

        if (!o || !list)
                return -ENOMEM;
        (void) json_object_object_add(o, "what", json_object_new_string(t ? t->what : ""));
        (void) json_object_object_add(o, "began", json_object_new_int64(t ? (int64_t) t->wall : 0));
        for (size_t i = 0; t && i < t->n; i++) {
                json_object *p = json_object_new_object();

                (void) json_object_object_add(p, "phase", json_object_new_string(t->phases[i].name));
                (void) json_object_object_add(p, "ms", json_object_new_double((double) t->phases[i].usec / 1000));
                (void) json_object_array_add(list, p);
        }
        (void) json_object_object_add(o, "phases", list);
        (void) json_object_object_add(o, "failed", t && t->failed ? json_object_new_string(t->failed) : NULL);
        *ret = strdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
        return *ret ? 0 : -ENOMEM;
}
