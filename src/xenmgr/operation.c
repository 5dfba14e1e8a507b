/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is being done with a VM, for those who look: how far it is, and how to call it off. */
#include "events.h"
#include "json.h"
#include "lifecycle-internal.h"
#include "log.h"
#include "strbuf.h"

#define TELL_USEC (USEC_PER_SEC / 4)

static void job_progress(const Job *j, uint64_t *ret_done, uint64_t *ret_total)
{
        *ret_done = *ret_total = 0;
        if (j->measure)
                measure_progress(j->measure, ret_done, ret_total);
}

static int on_progress(sd_event_source *s, _unused_ uint64_t usec, void *userdata)
{
        Job *j = userdata;
        Manager *m = j->vm->manager;
        uint64_t done, total;

        job_progress(j, &done, &total);
        if (m->serving)
                (void) service_emit(m->daemon->service, j->vm->path, "org.oxt.Xenmgr1", "Progress", "sstt",
                                    job_kind_text(j->kind), strempty(j->doing), done, total);
        (void) sd_event_source_set_time_relative(s, TELL_USEC);
        (void) sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
        return 0;
}

void job_tell_progress(Job *j)
{
        (void) sd_event_add_time_relative(j->vm->manager->event, &j->progress, CLOCK_MONOTONIC, 0, 0, on_progress, j);
}

int lifecycle_operations_json(Vm *vm, char **ret)
{
        _cleanup_json_ json_object *list = json_object_new_array();
        uint64_t now = now_usec();

        if (!list)
                return -ENOMEM;
        for (const Job *j = vm->job; j; j = j->next) {
                json_object *o = json_object_new_object();
                uint64_t done, total;

                if (!o)
                        return -ENOMEM;
                job_progress(j, &done, &total);
                (void) json_object_object_add(o, "what", json_object_new_string(job_kind_text(j->kind)));
                (void) json_object_object_add(o, "state", json_object_new_string(j->running ? "running" : "waiting"));
                (void) json_object_object_add(o, "step", json_object_new_string(strempty(j->doing)));
                (void) json_object_object_add(o, "seconds", json_object_new_double(j->began ? (double) (now - j->began) / USEC_PER_SEC : 0));
                (void) json_object_object_add(o, "left", j->deadline > now ? json_object_new_double((double) (j->deadline - now) / USEC_PER_SEC)
                                                                           : NULL);
                (void) json_object_object_add(o, "done", json_object_new_int64((int64_t) done));
                (void) json_object_object_add(o, "total", json_object_new_int64((int64_t) total));
                (void) json_object_array_add(list, o);
        }
        *ret = strdup(json_object_to_json_string_ext(list, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
        return *ret ? 0 : -ENOMEM;
}

static void on_cancelled(_unused_ Vm *vm, _unused_ const char *reply, _unused_ const sd_bus_error *error, _unused_ void *userdata)
{
}

static void job_cancel(Job *j)
{
        _cleanup_free_ char *text = strformat("The %s was cancelled", job_kind_text(j->kind));

        if (j->waits_sentinel) { /* it runs: nothing is left to call off */
                job_end(j, NULL);
                return;
        }
        if (j->kind == JOB_SUSPEND && j->running && j->vm->monitor)
                (void) monitor_call(j->vm, "cancel", NULL, 10 * USEC_PER_SEC, on_cancelled, NULL, NULL);
        job_end(j, text ? text : "Cancelled");
}

bool lifecycle_cancel(Vm *vm)
{
        bool any = vm->keep_alive != NULL;
        Job *last;

        vm->keep_alive = sd_event_source_disable_unref(vm->keep_alive);
        /* From behind, so that none begins. A destroy stays. */
        do {
                last = NULL;
                for (Job *j = vm->job; j; j = j->next)
                        if (j->kind != JOB_DESTROY && !j->failure)
                                last = j;
                if (last) {
                        any = true;
                        job_cancel(last);
                }
        } while (last);
        lifecycle_rest(vm);
        return any;
}
