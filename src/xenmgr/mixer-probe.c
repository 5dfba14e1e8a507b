/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* oxt-mixer-probe DEVICE [NAME [VALUE]]: lists, gets or sets controls, as the methods of /host do. */
#include "mixer.h"

int main(int argc, char *argv[])
{
        _cleanup_free_ MixerControl *list = NULL;
        MixerControl one;
        size_t n = 0;
        int r;

        if (argc < 2)
                return 2;
        if (argc > 3)
                r = mixer_set(argv[1], argv[2], argv[3]);
        else if (argc > 2) {
                r = mixer_get(argv[1], argv[2], &one);
                if (r >= 0)
                        printf("%s\n", one.value);
        } else
                r = mixer_list(argv[1], &list, &n);
        for (size_t i = 0; i < n; i++)
                printf("%s|%s|%s|%s\n", list[i].name, list[i].capture ? "capture" : "playback", mixer_type(&list[i]),
                       list[i].value);
        if (r < 0)
                printf("failed: %s\n", strerror(-r));
        return r < 0;
}
