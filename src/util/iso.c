/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "iso.h"

#include <ctype.h>

#define SECTOR 2048
#define ROOT_SECTORS 4 /* for the records of ISO_FILES_MAX files */

/* Sectors, after 16 that are left to boot loaders. */
enum { PRIMARY = 16, TERMINATOR, PATHS_LITTLE, PATHS_BIG, ROOT, FIRST_FILE = ROOT + ROOT_SECTORS };

static void put_both16(uint8_t *p, uint16_t v)
{
        p[0] = p[3] = (uint8_t) v;
        p[1] = p[2] = (uint8_t) (v >> 8);
}

static void put_both32(uint8_t *p, uint32_t v)
{
        for (int i = 0; i < 4; i++)
                p[i] = p[7 - i] = (uint8_t) (v >> 8 * i);
}

/* One entry of a directory; returns its length. */
static size_t put_record(uint8_t *p, const char *name, size_t name_size, uint32_t sector, uint32_t size, bool directory)
{
        size_t length = 33 + name_size + (name_size % 2 == 0);

        p[0] = (uint8_t) length;
        put_both32(p + 2, sector);
        put_both32(p + 10, size);
        p[18] = 100; /* 2000-01-01: the same data give the same image */
        p[19] = p[20] = 1;
        p[25] = directory ? 2 : 0;
        put_both16(p + 28, 1);
        p[32] = (uint8_t) name_size;
        memcpy(p + 33, name, name_size);
        return length;
}

static void put_padded(uint8_t *p, const char *text, size_t size)
{
        memset(p, ' ', size);
        memcpy(p, text, strlen(text));
}

/* Path tables hold the root directory alone. */
static void put_path_table(uint8_t *p, bool big)
{
        p[0] = 1;
        p[big ? 5 : 2] = ROOT;
        p[big ? 7 : 6] = 1;
}

static void put_primary(uint8_t *p, const char *volume, uint32_t sectors)
{
        p[0] = 1;
        memcpy(p + 1, "CD001\1", 6);
        put_padded(p + 8, "LINUX", 32);
        put_padded(p + 40, volume, 32);
        put_both32(p + 80, sectors);
        put_both16(p + 120, 1);
        put_both16(p + 124, 1);
        put_both16(p + 128, SECTOR);
        put_both32(p + 132, 10); /* size of a path table */
        p[140] = PATHS_LITTLE;
        p[151] = PATHS_BIG;
        put_record(p + 156, "", 1, ROOT, ROOT_SECTORS * SECTOR, true);
        put_padded(p + 190, "", 623);
        for (int i = 0; i < 4; i++)
                memset(p + 813 + 17 * i, '0', 16);
        p[881] = 1;
}

bool iso_name_valid(const char *s)
{
        size_t n = strlen(s);

        for (; *s; s++)
                if (!isalnum((unsigned char) *s) && *s != '-' && *s != '.')
                        return false;
        return n > 0 && n <= 30;
}

static int compare_names(const void *a, const void *b)
{
        const IsoFile *x = a, *y = b;

        return strcmp(x->name, y->name);
}

uint8_t *iso_image(const char *volume, const IsoFile *files, size_t n, size_t *ret_size)
{
        IsoFile sorted[ISO_FILES_MAX];
        uint32_t sectors = FIRST_FILE;
        uint8_t *image, *entry;

        if (n > ISO_FILES_MAX || strlen(volume) > 32)
                return NULL;
        for (size_t i = 0; i < n; i++) {
                if (!iso_name_valid(files[i].name) || files[i].size > ISO_FILE_MAX)
                        return NULL;
                sorted[i] = files[i];
                sectors += (uint32_t) ((files[i].size + SECTOR - 1) / SECTOR);
        }
        qsort(sorted, n, sizeof *sorted, compare_names);
        image = calloc(sectors, SECTOR);
        if (!image)
                return NULL;
        put_primary(image + PRIMARY * SECTOR, volume, sectors);
        image[TERMINATOR * SECTOR] = 255;
        memcpy(image + TERMINATOR * SECTOR + 1, "CD001\1", 6);
        put_path_table(image + PATHS_LITTLE * SECTOR, false);
        put_path_table(image + PATHS_BIG * SECTOR, true);
        entry = image + ROOT * SECTOR;
        entry += put_record(entry, "\0", 1, ROOT, ROOT_SECTORS * SECTOR, true);
        entry += put_record(entry, "\1", 1, ROOT, ROOT_SECTORS * SECTOR, true);
        sectors = FIRST_FILE;
        for (size_t i = 0; i < n; i++) {
                char name[40];

                snprintf(name, sizeof name, "%s%s;1", sorted[i].name, strchr(sorted[i].name, '.') ? "" : ".");
                for (char *p = name; *p; p++)
                        *p = (char) toupper((unsigned char) *p);
                /* No record crosses the end of a sector. */
                if ((size_t) (entry - image) % SECTOR + 34 + strlen(name) > SECTOR)
                        entry = image + ((size_t) (entry - image) / SECTOR + 1) * SECTOR;
                entry += put_record(entry, name, strlen(name), sectors, (uint32_t) sorted[i].size, false);
                if (sorted[i].size > 0)
                        memcpy(image + (size_t) sectors * SECTOR, sorted[i].data, sorted[i].size);
                sectors += (uint32_t) ((sorted[i].size + SECTOR - 1) / SECTOR);
        }
        *ret_size = (size_t) sectors * SECTOR;
        return image;
}
