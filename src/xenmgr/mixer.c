/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mixer.h"

#include <fcntl.h>
#include <sound/asound.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "parse.h"
#include "strbuf.h"

#define ELEMENTS_MAX 1024

const char *mixer_type(const MixerControl *c)
{
        return c->has_choice ? "choice" : !c->has_switch ? "volume" : c->has_volume ? "volume-switch" : "switch";
}

static int open_device(const char *device)
{
        int fd = open(device, O_RDWR | O_NONBLOCK | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

static int read_element(int fd, unsigned id, struct snd_ctl_elem_value *ret)
{
        *ret = (struct snd_ctl_elem_value) { .id.numid = id };
        return ioctl(fd, SNDRV_CTL_IOCTL_ELEM_READ, ret) < 0 ? -errno : 0;
}

static int read_info(int fd, unsigned id, struct snd_ctl_elem_info *ret)
{
        *ret = (struct snd_ctl_elem_info) { .id.numid = id };
        return ioctl(fd, SNDRV_CTL_IOCTL_ELEM_INFO, ret) < 0 ? -errno : 0;
}

static int read_item(int fd, unsigned id, unsigned item, struct snd_ctl_elem_info *ret)
{
        *ret = (struct snd_ctl_elem_info) { .id.numid = id, .value.enumerated.item = item };
        return ioctl(fd, SNDRV_CTL_IOCTL_ELEM_INFO, ret) < 0 ? -errno : 0;
}

static bool cut(char *s, const char *suffix)
{
        size_t n = strlen(s), k = strlen(suffix);

        if (n <= k || !streq(s + n - k, suffix))
                return false;
        s[n - k] = '\0';
        return true;
}

static void control_name(const struct snd_ctl_elem_id *id, char *ret, size_t size)
{
        char name[sizeof id->name + 1];

        snprintf(name, sizeof name, "%.*s", (int) sizeof id->name, (const char *) id->name);
        if (!cut(name, " Volume"))
                (void) cut(name, " Switch");
        (void) cut(name, " Playback");
        if (id->index)
                snprintf(ret, size, "%s,%u", name, id->index);
        else
                snprintf(ret, size, "%s", name);
}

static void add_value(MixerControl *c, const char *word)
{
        size_t n = strlen(c->value);

        snprintf(c->value + n, sizeof c->value - n, "%s%s", n ? " " : "", word);
}

static int read_value(int fd, MixerControl *c)
{
        struct snd_ctl_elem_value v;
        struct snd_ctl_elem_info item;
        char word[16];
        int r;

        *c->value = '\0';
        if (c->has_volume || c->has_choice) {
                r = read_element(fd, c->volume_id, &v);
                if (r < 0)
                        return r;
        }
        if (c->has_choice) {
                r = read_item(fd, c->volume_id, v.value.enumerated.item[0], &item);
                if (r < 0)
                        return r;
                snprintf(c->value, sizeof c->value, "%.64s", item.value.enumerated.name);
        } else if (c->has_volume) {
                long range = c->max - c->min;

                snprintf(word, sizeof word, "%ld%%", ((v.value.integer.value[0] - c->min) * 100 + range / 2) / range);
                add_value(c, word);
        }
        if (c->has_switch) {
                r = read_element(fd, c->switch_id, &v);
                if (r < 0)
                        return r;
                add_value(c, v.value.integer.value[0] ? "on" : "off");
        }
        return 0;
}

/* Takes an element into the list; others than volumes, switches and choices are not a mixer's. */
static void take_element(int fd, const struct snd_ctl_elem_id *id, MixerControl *list, size_t *n)
{
        struct snd_ctl_elem_info info;
        MixerControl *c = NULL;
        char name[sizeof c->name];

        if (id->iface != SNDRV_CTL_ELEM_IFACE_MIXER || read_info(fd, id->numid, &info) < 0 || info.count == 0 ||
            !(info.access & SNDRV_CTL_ELEM_ACCESS_READ) || info.access & SNDRV_CTL_ELEM_ACCESS_INACTIVE)
                return;
        if (info.type != SNDRV_CTL_ELEM_TYPE_BOOLEAN && info.type != SNDRV_CTL_ELEM_TYPE_ENUMERATED &&
            !(info.type == SNDRV_CTL_ELEM_TYPE_INTEGER && info.value.integer.max > info.value.integer.min))
                return;
        control_name(id, name, sizeof name);
        if (!utf8_valid(name, strlen(name)))
                return;
        for (size_t i = 0; i < *n; i++)
                if (streq(list[i].name, name))
                        c = &list[i];
        if (c && (c->has_choice || info.type == SNDRV_CTL_ELEM_TYPE_ENUMERATED ||
                  (info.type == SNDRV_CTL_ELEM_TYPE_BOOLEAN ? c->has_switch : c->has_volume)))
                return; /* a second one of that kind */
        if (!c) {
                c = &list[(*n)++];
                *c = (MixerControl) { .capture = strstr(name, "Capture") };
                memcpy(c->name, name, sizeof name);
        }
        if (info.type == SNDRV_CTL_ELEM_TYPE_BOOLEAN) {
                c->has_switch = true;
                c->switch_id = id->numid;
                return;
        }
        c->volume_id = id->numid;
        c->has_choice = info.type == SNDRV_CTL_ELEM_TYPE_ENUMERATED;
        c->has_volume = !c->has_choice;
        c->min = c->has_volume ? info.value.integer.min : 0;
        c->max = c->has_volume ? info.value.integer.max : (long) info.value.enumerated.items - 1;
}

static int list_controls(int fd, MixerControl **ret, size_t *ret_n)
{
        _cleanup_free_ struct snd_ctl_elem_id *ids = calloc(ELEMENTS_MAX, sizeof *ids);
        _cleanup_free_ MixerControl *list = calloc(ELEMENTS_MAX, sizeof *list);
        struct snd_ctl_elem_list elements = { .space = ELEMENTS_MAX, .pids = ids };
        size_t n = 0;

        if (!ids || !list)
                return -ENOMEM;
        if (ioctl(fd, SNDRV_CTL_IOCTL_ELEM_LIST, &elements) < 0)
                return -errno;
        for (size_t i = 0; i < elements.used; i++)
                take_element(fd, &ids[i], list, &n);
        *ret = TAKE_PTR(list);
        *ret_n = n;
        return 0;
}

int mixer_list(const char *device, MixerControl **ret, size_t *ret_n)
{
        _cleanup_close_ int fd = open_device(device);
        _cleanup_free_ MixerControl *list = NULL;
        size_t n = 0;
        int r = fd < 0 ? fd : list_controls(fd, &list, &n);

        for (size_t i = 0; r >= 0 && i < n; i++)
                r = read_value(fd, &list[i]);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(list);
        *ret_n = n;
        return 0;
}

static int find_control(int fd, const char *name, MixerControl *ret)
{
        _cleanup_free_ MixerControl *list = NULL;
        size_t n = 0;
        int r = list_controls(fd, &list, &n);

        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++)
                if (streq(list[i].name, name)) {
                        *ret = list[i];
                        return 0;
                }
        return -ENOENT;
}

int mixer_get(const char *device, const char *name, MixerControl *ret)
{
        _cleanup_close_ int fd = open_device(device);
        int r = fd < 0 ? fd : find_control(fd, name, ret);

        return r < 0 ? r : read_value(fd, ret);
}

/* The same value for each channel. */
static int write_element(int fd, unsigned id, long value)
{
        struct snd_ctl_elem_value v = { .id.numid = id };
        struct snd_ctl_elem_info info;
        int r = read_info(fd, id, &info);

        if (r < 0)
                return r;
        for (unsigned i = 0; i < info.count && i < ELEMENTSOF(v.value.integer.value); i++)
                if (info.type != SNDRV_CTL_ELEM_TYPE_ENUMERATED)
                        v.value.integer.value[i] = value;
                else if (i < ELEMENTSOF(v.value.enumerated.item))
                        v.value.enumerated.item[i] = (unsigned) value;
        return ioctl(fd, SNDRV_CTL_IOCTL_ELEM_WRITE, &v) < 0 ? -errno : 0;
}

static int set_choice(int fd, const MixerControl *c, const char *value)
{
        struct snd_ctl_elem_info item;

        for (long i = 0; i <= c->max; i++)
                if (read_item(fd, c->volume_id, (unsigned) i, &item) >= 0 &&
                    strncmp(item.value.enumerated.name, value, sizeof item.value.enumerated.name) == 0)
                        return write_element(fd, c->volume_id, i);
        return -EINVAL;
}

/* Nothing is set unless all words are good. */
int mixer_set(const char *device, const char *name, const char *value)
{
        _cleanup_close_ int fd = open_device(device);
        _cleanup_strv_ char **words = NULL;
        int64_t percent = -1;
        int on = -1, r;
        MixerControl c;

        r = fd < 0 ? fd : find_control(fd, name, &c);
        if (r < 0)
                return r;
        if (c.has_choice)
                return set_choice(fd, &c, value);
        r = strv_split(value, ' ', &words);
        for (char **w = words; r >= 0 && *w; w++)
                if (!**w)
                        continue;
                else if (c.has_switch && on < 0 && (streq(*w, "on") || streq(*w, "off")))
                        on = streq(*w, "on");
                else if (!c.has_volume || percent >= 0 || !cut(*w, "%") || parse_i64(*w, &percent) < 0 || percent < 0 ||
                         percent > 100)
                        r = -EINVAL;
        if (r >= 0 && on < 0 && percent < 0)
                r = -EINVAL;
        if (r >= 0 && percent >= 0)
                r = write_element(fd, c.volume_id, c.min + ((c.max - c.min) * percent + 50) / 100);
        if (r >= 0 && on >= 0)
                r = write_element(fd, c.switch_id, on);
        return r;
}
