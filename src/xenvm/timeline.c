/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "timeline.h"

#include "strbuf.h"

static const char *const phase_names[_TIMELINE_MAX] = {
        [TIMELINE_CHECKED] = "checked",
        [TIMELINE_SPAWNED] = "spawned",
        [TIMELINE_QMP_READY] = "qmp ready",
        [TIMELINE_DEVICES] = "devices",
        [TIMELINE_RUNNING] = "running",
        [TIMELINE_AGENT] = "guest agent",
        [TIMELINE_SENTINEL] = "boot sentinel",
};

void timeline_begin(Timeline *t)
{
        timeline_done(t);
        t->begin = now_usec();
        t->failed = _TIMELINE_MAX;
}

bool timeline_reach(Timeline *t, TimelinePhase phase)
{
        if (!t->begin || t->at[phase])
                return false;
        t->at[phase] = MAX2(now_usec() - t->begin, (uint64_t) 1);
        /* QEMU's events and its answers come on two ways: word of the next phase may be here first. */
        for (TimelinePhase next = phase + 1; next < _TIMELINE_MAX; next++)
                if (t->at[next])
                        t->at[phase] = MIN2(t->at[phase], t->at[next]);
        return true;
}

void timeline_fail(Timeline *t, const char *cause)
{
        TimelinePhase p = 0;

        if (!t->begin || t->cause)
                return;
        while (p < TIMELINE_RUNNING && t->at[p])
                p++;
        t->failed = p;
        t->cause = strdup(cause);
}

void timeline_done(Timeline *t)
{
        free(t->cause);
        *t = (Timeline) { .failed = _TIMELINE_MAX };
}

char *timeline_save(const Timeline *t)
{
        StrBuf b = STRBUF_INIT;
        char *text;

        if (!t->begin)
                return NULL;
        strbuf_addf(&b, "%llu", (unsigned long long) t->begin);
        for (TimelinePhase p = 0; p < _TIMELINE_MAX; p++)
                strbuf_addf(&b, " %llu", (unsigned long long) t->at[p]);
        return strbuf_take(&b, &text) < 0 ? NULL : text;
}

void timeline_load(Timeline *t, const char *text)
{
        Timeline loaded = { .failed = _TIMELINE_MAX };
        uint64_t *to = &loaded.begin;

        for (TimelinePhase p = 0; p <= _TIMELINE_MAX; p++) {
                char *end;

                *to = strtoull(text, &end, 10);
                if (end == text)
                        break;
                text = end;
                to = &loaded.at[p];
        }
        timeline_done(t);
        *t = loaded;
}

static char *format(const Timeline *t, const char *between, int name_width, int time_width)
{
        StrBuf b = STRBUF_INIT;
        char *text;

        if (!t->begin)
                return strdup("not started yet");
        for (TimelinePhase p = 0; p < _TIMELINE_MAX; p++)
                if (t->at[p]) {
                        strbuf_add(&b, b.len > 0 ? between : "");
                        strbuf_addf(&b, "%-*s %*.1f ms", name_width, phase_names[p], time_width, (double) t->at[p] / 1000);
                }
        if (t->cause) {
                strbuf_add(&b, b.len > 0 ? between : "");
                strbuf_addf(&b, "failed before: %s: %s", phase_names[t->failed], t->cause);
        }
        if (!b.len)
                strbuf_add(&b, "begun");
        return strbuf_take(&b, &text) < 0 ? NULL : text;
}

char *timeline_text(const Timeline *t)
{
        return format(t, "\n", 13, 10);
}

char *timeline_line(const Timeline *t)
{
        return format(t, ", ", 0, 0);
}
