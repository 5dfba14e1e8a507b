/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sound cards of the host on D-Bus: lists from /proc/asound, mixers from the kernel's control devices. */
#include <ctype.h>

#include "background.h"
#include "fs.h"
#include "host-events.h"
#include "host-internal.h"
#include "mixer.h"
#include "strbuf.h"

/* Sound: /proc/asound. A host without it has none, which is no error. */

enum { PCM, CARDS };

static const char *sound_table(Manager *m, size_t which)
{
        static const char *const files[] = { [PCM] = "/proc/asound/pcm", [CARDS] = "/proc/asound/cards" };

        if (!host_kept(HOST_SOUND))
                for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                        free(m->host->sound[i]);
                        m->host->sound[i] = NULL;
                        (void) read_file(files[i], 64 * KIB, &m->host->sound[i], NULL);
                }
        return strempty(m->host->sound[which]);
}

/* The word in brackets of the card's line, as in " 0 [PCH            ]: HDA-Intel - HDA Intel PCH". */
static const char *card_id(const char *cards, int number, char ret[static 32])
{
        int found;

        for (const char *p = cards; *p; p += strcspn(p, "\n"), p += *p == '\n')
                if (sscanf(p, " %d [%31[^] ]", &found, ret) == 2 && found == number)
                        return ret;
        return "";
}

/* "00-00: name : text : playback 1 : capture 1" */
int fill_pcm(Call *c, sd_bus_message *reply)
{
        const char *direction = c->method->data;
        _cleanup_strv_ char **lines = NULL;
        int r;

        r = strv_split(sound_table(c->userdata, PCM), '\n', &lines);
        for (char **l = lines; r >= 0 && l && *l; l++) {
                _cleanup_free_ char *id = NULL, *name = NULL;
                const char *start = strlen(*l) > 7 ? *l + 7 : "";
                char card[32];

                if (!strstr(*l, direction))
                        continue;
                id = strndup(*l, 5);
                name = strndup(start, strcspn(start, ":"));
                r = id && name ? reply_add_row(reply, "id", id, "name", strstrip(name), "card",
                                               card_id(sound_table(c->userdata, CARDS), atoi(*l), card), NULL)
                               : -ENOMEM;
        }
        return r;
}

/* " 0 [PCH            ]: HDA-Intel - HDA Intel PCH" */
int fill_cards(Call *c, sd_bus_message *reply)
{
        _cleanup_strv_ char **lines = NULL;
        int r;

        r = strv_split(sound_table(c->userdata, CARDS), '\n', &lines);
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
