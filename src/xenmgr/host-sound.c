/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sound cards of the host on D-Bus: lists from /proc/asound, mixers from the kernel's control devices. */
#include <ctype.h>

#include "background.h"
#include "fs.h"
#include "host-internal.h"
#include "mixer.h"
#include "strbuf.h"

/* Sound: /proc/asound. A host without it has none, which is no error. */

/* "00-00: name : text : playback 1 : capture 1" */
static int fill_pcm(Call *c, sd_bus_message *reply)
{
        const char *direction = c->method->data;
        _cleanup_free_ char *text = NULL;
        _cleanup_strv_ char **lines = NULL;
        int r;

        if (read_file("/proc/asound/pcm", 64 * KIB, &text, NULL) < 0)
                return 0;
        r = strv_split(text, '\n', &lines);
        for (char **l = lines; r >= 0 && l && *l; l++) {
                _cleanup_free_ char *id = NULL, *card_path = NULL, *card = NULL, *name = NULL;
                const char *start = strlen(*l) > 7 ? *l + 7 : "";

                if (!strstr(*l, direction))
                        continue;
                id = strndup(*l, 5);
                name = strndup(start, strcspn(start, ":"));
                card_path = strformat("/proc/asound/card%d/id", atoi(*l));
                card = card_path ? host_file_text(card_path) : NULL;
                r = id && name ? reply_add_row(reply, "id", id, "name", strstrip(name), "card", card, NULL) : -ENOMEM;
        }
        return r;
}

int method_list_pcm(Call *c)
{
        return call_reply_array(c, "a{ss}", fill_pcm);
}

/* " 0 [PCH            ]: HDA-Intel - HDA Intel PCH" */
static int fill_cards(_unused_ Call *c, sd_bus_message *reply)
{
        _cleanup_free_ char *text = NULL;
        _cleanup_strv_ char **lines = NULL;
        int r;

        if (read_file("/proc/asound/cards", 64 * KIB, &text, NULL) < 0)
                return 0;
        r = strv_split(text, '\n', &lines);
        for (char **l = lines; r >= 0 && l && *l; l++) {
                const char *name = strstr(*l, "]:");
                char id[16];

                if (!name || !isdigit((unsigned char) *strstrip(*l)))
                        continue;
                snprintf(id, sizeof id, "%d", atoi(*l));
                r = reply_add_row(reply, "id", id, "name", name + 2 + strspn(name + 2, " "), NULL);
        }
        return r;
}

int method_list_cards(Call *c)
{
        return call_reply_array(c, "a{ss}", fill_cards);
}

/* Mixers: a device may take its time, so they are asked in the background. */

typedef struct MixerWork {
        Call *call;
        char device[32];
        char *control, *value; /* control NULL: all of them; value NULL: it is asked for */
        MixerControl *list;
        size_t n;
        int result;
} MixerWork;

static void mixer_work_free(MixerWork *w)
{
        call_unref(w->call);
        free(w->control);
        free(w->value);
        free(w->list);
        free(w);
}

static void mixer_work(void *data)
{
        MixerWork *w = data;

        if (!w->control)
                w->result = mixer_list(w->device, &w->list, &w->n);
        else if (w->value)
                w->result = mixer_set(w->device, w->control, w->value);
        else
                w->result = mixer_get(w->device, w->control, w->list);
}

static int fill_controls(Call *c, sd_bus_message *reply)
{
        const MixerWork *w = c->object;
        int r = 0;

        for (size_t i = 0; r >= 0 && i < w->n; i++) {
                const MixerControl *k = &w->list[i];

                r = reply_add_row(reply, "name", k->name, "direction", k->capture ? "capture" : "playback", "type",
                                  mixer_type(k), "value", k->value, NULL);
        }
        return r;
}

static void mixer_done(void *data)
{
        MixerWork *w = data;
        Call *c = w->call;
        _cleanup_free_ char *why = NULL;

        if (w->result == -ENOENT && w->control)
                (void) call_fail(c, DBUS_ERROR_FAILED, "The card has no control '%.64s'", w->control);
        else if (w->result == -EINVAL && w->value)
                (void) call_fail(c, DBUS_ERROR_FAILED,
                                 "'%.64s' is not a value of %.64s: it takes words such as 50%%, on and off, or a choice",
                                 w->value, w->control);
        else if (w->result < 0) {
                why = strformat("%s: %s", w->device, strerror(-w->result));
                (void) call_fail_code(c, ERROR_IO, why);
        } else if (!w->control) {
                c->object = w;
                (void) call_reply_array(c, "a{ss}", fill_controls);
        } else if (w->value)
                (void) call_reply(c, NULL);
        else
                (void) call_reply(c, "s", w->list->value);
        mixer_work_free(w);
}

/* The card is the number that list_sound_cards gives. */
int method_card_mixer(Call *c)
{
        Manager *m = c->userdata;
        const char *card = "", *control = NULL, *value = NULL;
        MixerWork *w;
        int r;

        r = sd_bus_message_read(c->message, "s", &card);
        if (r >= 0 && strlen(c->method->in) > 1)
                r = sd_bus_message_read(c->message, "s", &control);
        if (r >= 0 && strlen(c->method->in) > 2)
                r = sd_bus_message_read(c->message, "s", &value);
        if (r < 0)
                return r;
        if (!*card || strlen(card) > 3 || card[strspn(card, "0123456789")])
                return call_fail(c, DBUS_ERROR_FAILED, "'%.32s' is not the number of a sound card", card);
        w = calloc(1, sizeof *w);
        if (!w)
                return -ENOMEM;
        *w = (MixerWork) { .call = call_ref(c), .control = control ? strdup(control) : NULL,
                           .value = value ? strdup(value) : NULL, .list = control ? calloc(1, sizeof *w->list) : NULL };
        snprintf(w->device, sizeof w->device, MIXER_DEVICE, (unsigned) atoi(card));
        r = control && (!w->control || !w->list || (value && !w->value))
                    ? -ENOMEM
                    : background_run(m->event, mixer_work, mixer_done, w);
        if (r < 0)
                mixer_work_free(w);
        return r;
}
