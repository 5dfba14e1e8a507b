/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image.h"

#include "unaligned.h"

#define SECTOR 512u
#define LOGICAL_MAX 128
#define GPT_ENTRIES_MAX 1024

enum { TYPE_EXTENDED_CHS = 0x05, TYPE_EXTENDED_LBA = 0x0f, TYPE_EXTENDED_LINUX = 0x85, TYPE_GPT = 0xee };

typedef struct Entry {
        uint8_t type;
        uint64_t start, sectors;
} Entry;

static bool is_extended(uint8_t type)
{
        return type == TYPE_EXTENDED_CHS || type == TYPE_EXTENDED_LBA || type == TYPE_EXTENDED_LINUX;
}

static int read_table(const Image *i, uint64_t sector, Entry ret[static 4])
{
        uint8_t data[SECTOR];
        int r = sector > UINT64_MAX / SECTOR ? -EIO : image_read(i, sector * SECTOR, data, sizeof data);

        if (r < 0)
                return r;
        if (data[510] != 0x55 || data[511] != 0xaa)
                return -EBADMSG;
        for (size_t k = 0; k < 4; k++) {
                const uint8_t *p = data + 446 + 16 * k;

                ret[k] = (Entry) { .type = p[4], .start = get_le32(p + 8), .sectors = get_le32(p + 12) };
        }
        return 0;
}

static int take(Image *i, uint64_t start, uint64_t sectors)
{
        uint64_t all = i->length / SECTOR;

        if (sectors == 0 || start > all || sectors > all - start)
                return -EBADMSG;
        i->start += start * SECTOR;
        i->length = sectors * SECTOR;
        return 0;
}

static int find_gpt(Image *i, unsigned number)
{
        uint8_t header[92], entry[56];
        uint64_t at, first, last;
        uint32_t n, size;
        int r = image_read(i, SECTOR, header, sizeof header);

        if (r < 0)
                return r;
        if (memcmp(header, "EFI PART", 8) != 0)
                return -EBADMSG;
        at = get_le64(header + 72);
        n = get_le32(header + 80);
        size = get_le32(header + 84);
        if (number > MIN2(n, GPT_ENTRIES_MAX))
                return -ENOENT;
        if (size < 128 || size > 4096 || at > i->length / SECTOR)
                return -EBADMSG;
        r = image_read(i, at * SECTOR + (uint64_t) (number - 1) * size, entry, sizeof entry);
        if (r < 0)
                return r;
        first = get_le64(entry + 32);
        last = get_le64(entry + 40);
        if (first == 0)
                return -ENOENT;
        return last < first || last == UINT64_MAX ? -EBADMSG : take(i, first, last - first + 1);
}

/* Each logical partition has a table of its own, which names it and the next table. */
static int find_logical(Image *i, uint64_t extended, unsigned number)
{
        uint64_t at = extended;

        for (unsigned n = 5; n < 5 + LOGICAL_MAX; n++) {
                Entry table[4];
                int r = read_table(i, at, table);

                if (r < 0)
                        return r == -EBADMSG ? -ENOENT : r;
                if (n == number)
                        return table[0].type ? take(i, at + table[0].start, table[0].sectors) : -ENOENT;
                if (!is_extended(table[1].type) || table[1].start == 0)
                        return -ENOENT;
                at = extended + table[1].start;
        }
        return -ENOENT;
}

static int find(Image *i, unsigned number)
{
        Entry table[4];
        int r = read_table(i, 0, table);

        if (r < 0)
                return r;
        for (size_t k = 0; k < 4; k++)
                if (table[k].type == TYPE_GPT)
                        return find_gpt(i, number);
        if (number <= 4)
                return table[number - 1].type ? take(i, table[number - 1].start, table[number - 1].sectors) : -ENOENT;
        for (size_t k = 0; k < 4; k++)
                if (is_extended(table[k].type))
                        return find_logical(i, table[k].start, number);
        return -ENOENT;
}

int partition_find(Image *i, unsigned number, const char **ret_why)
{
        int r = number == 0 ? -ENOENT : find(i, number);

        *ret_why = r == -ENOENT ? "the disk has no such partition" : "the disk's table of partitions cannot be read";
        return r;
}
