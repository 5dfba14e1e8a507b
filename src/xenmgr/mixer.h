/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Mixers of sound cards, by the kernel's control interface (sound/asound.h): no library and no program. The
 * elements "X Playback Volume" and "X Playback Switch" are one control "X", "X Capture Volume" and "X Capture
 * Switch" one "X Capture"; further ones of the same name get ",1", ",2" and so on.
 *
 * A value is words with blanks between: "50%" where there is a volume (of the first channel), "on" or "off" where
 * there is a switch; that of a choice is the name of the chosen item. Everything here may wait for the device.
 */
#include "util.h"

#define MIXER_DEVICE "/dev/snd/controlC%u"

typedef struct MixerControl {
        char name[64];
        bool capture;
        bool has_volume, has_switch, has_choice;
        unsigned volume_id, switch_id; /* numbers of elements; volume_id is that of a choice, too */
        long min, max;
        char value[80];
} MixerControl;

/* "volume-switch", "volume", "switch" or "choice". */
const char *mixer_type(const MixerControl *c);

/* All controls of the card; *ret is to be freed. Returns 0 or the errno of the device. */
int mixer_list(const char *device, MixerControl **ret, size_t *ret_n);

/* Fills *ret with the control of that name. Returns 0, -ENOENT (no such control) or the errno of the device. */
int mixer_get(const char *device, const char *name, MixerControl *ret);

/* Sets all channels. Returns 0, -ENOENT, -EINVAL (not a value of this control) or the errno of the device. */
int mixer_set(const char *device, const char *name, const char *value);
