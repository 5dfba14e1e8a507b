/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "savefile.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "json.h"
#include "strbuf.h"
#include "unaligned.h"

#define MAGIC "OxtSavedDomain 1\n"
#define STEP (16 * MIB)
#define SUM_LENGTH 16

void save_header_done(SaveHeader *h)
{
        free(h->backend);
        free(h->uuid);
        free(h->shape);
        free(h->devices);
        *h = (SaveHeader) { 0 };
}

/* Finds damage, not malice: four lanes of 8 bytes each, multiplied and mixed; about as fast as memory. */
static void add_block(SaveSum *s, const unsigned char *p, size_t n)
{
        for (; n >= 32; p += 32, n -= 32)
                for (int i = 0; i < 4; i++) {
                        uint64_t v;

                        memcpy(&v, p + 8 * i, 8);
                        s->state[i] = (s->state[i] ^ v) * UINT64_C(0x9e3779b97f4a7c15);
                        s->state[i] ^= s->state[i] >> 29;
                }
        for (size_t i = 0; i < n; i++)
                s->state[i % 4] = (s->state[i % 4] ^ p[i]) * UINT64_C(0xbf58476d1ce4e5b9);
}

static void sum_text(const SaveSum *s, char text[static SUM_LENGTH + 1])
{
        uint64_t sum = 0;

        for (int i = 0; i < 4; i++)
                sum = (sum ^ s->state[i]) * UINT64_C(0x94d049bb133111eb) + (sum >> 31);
        snprintf(text, SUM_LENGTH + 1, "%016llx", (unsigned long long) sum);
}

static void header_sum(const char *text, size_t length, char ret[static SUM_LENGTH + 1])
{
        SaveSum s = { .state = { 1, 2, 3, 4 } };

        add_block(&s, (const unsigned char *) text, length);
        sum_text(&s, ret);
}

int savefile_create(const char *file, char **ret_tmp)
{
        _cleanup_free_ char *tmp = strformat("%s.tmp", file);
        int fd;

        if (!tmp)
                return -ENOMEM;
        if (unlink(tmp) < 0 && errno != ENOENT)
                return -errno;
        fd = open(tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return -errno;
        if (lseek(fd, SAVEFILE_HEADER_SIZE, SEEK_SET) < 0) {
                int r = -errno;

                (void) close(fd);
                return r;
        }
        *ret_tmp = TAKE_PTR(tmp);
        return fd;
}

int savefile_open_folder(const char *file)
{
        _cleanup_free_ char *dir = strdup(file);
        char *slash = dir ? strrchr(dir, '/') : NULL;
        int fd;

        if (!dir)
                return -ENOMEM;
        if (slash)
                slash[slash == dir] = '\0';
        fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

int savefile_write_header(int fd, const SaveHeader *h)
{
        _cleanup_json_ json_object *o = json_object_new_object();
        _cleanup_free_ char *block = calloc(1, SAVEFILE_HEADER_SIZE);
        const char *text;
        char sum[SUM_LENGTH + 1];

        if (!o || !block)
                return -ENOMEM;
        json_object_object_add(o, "backend", json_object_new_string(h->backend));
        json_object_object_add(o, "uuid", json_object_new_string(h->uuid));
        json_object_object_add(o, "memory_kib", json_object_new_int64(h->memory_kib));
        json_object_object_add(o, "size", json_object_new_int64(h->size));
        json_object_object_add(o, "sum", json_object_new_string(h->sum));
        json_object_object_add(o, "shape", json_object_new_string(strempty(h->shape)));
        json_object_object_add(o, "devices", json_object_new_string(strempty(h->devices)));
        text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
        if (strlen(MAGIC) + 4 + strlen(text) + SUM_LENGTH > SAVEFILE_HEADER_SIZE)
                return -E2BIG;
        memcpy(block, MAGIC, strlen(MAGIC));
        put_be32(block + strlen(MAGIC), (uint32_t) strlen(text));
        memcpy(block + strlen(MAGIC) + 4, text, strlen(text));
        header_sum(text, strlen(text), sum);
        memcpy(block + strlen(MAGIC) + 4 + strlen(text), sum, SUM_LENGTH);
        if (pwrite(fd, block, SAVEFILE_HEADER_SIZE, 0) != SAVEFILE_HEADER_SIZE)
                return errno ? -errno : -EIO;
        return 0;
}

static int read_header(int fd, SaveHeader *ret, const char **ret_why)
{
        _cleanup_free_ char *block = malloc(SAVEFILE_HEADER_SIZE);
        _cleanup_json_ json_object *o = NULL;
        _cleanup_(save_header_done) SaveHeader h = { 0 };
        char expected[SUM_LENGTH + 1];
        const char *sum, *own_sum;
        struct stat st;
        uint32_t length;

        if (!block)
                return -ENOMEM;
        *ret_why = "it is not a saved VM";
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || pread(fd, block, SAVEFILE_HEADER_SIZE, 0) != SAVEFILE_HEADER_SIZE ||
            memcmp(block, MAGIC, strlen(MAGIC)) != 0)
                return -EBADMSG;
        *ret_why = "its header is damaged";
        length = get_be32(block + strlen(MAGIC));
        if (length > SAVEFILE_HEADER_SIZE - strlen(MAGIC) - 4 - SUM_LENGTH)
                return -EBADMSG;
        own_sum = block + strlen(MAGIC) + 4 + length;
        header_sum(block + strlen(MAGIC) + 4, length, expected);
        if (*own_sum && memcmp(own_sum, expected, SUM_LENGTH) != 0)
                return -EBADMSG;
        if (json_parse(block + strlen(MAGIC) + 4, length, 4, &o) < 0 || !json_object_is_type(o, json_type_object))
                return -EBADMSG;
        h.backend = strdup(json_get_text(o, "backend", ""));
        h.uuid = strdup(json_get_text(o, "uuid", ""));
        h.shape = strdup(json_get_text(o, "shape", ""));
        h.devices = strdup(json_get_text(o, "devices", ""));
        h.memory_kib = json_get_int(o, "memory_kib", -1);
        h.size = json_get_int(o, "size", -1);
        sum = json_get_text(o, "sum", "");
        if (!h.backend || !h.uuid || !h.shape || !h.devices)
                return -ENOMEM;
        if ((h.devices[0] && !*own_sum) || h.memory_kib <= 0 || h.size <= 0 || strlen(sum) != sizeof h.sum - 1)
                return -EBADMSG;
        memcpy(h.sum, sum, sizeof h.sum);
        *ret_why = "it is cut short";
        if (h.size != st.st_size - SAVEFILE_HEADER_SIZE)
                return -EBADMSG;
        if (lseek(fd, SAVEFILE_HEADER_SIZE, SEEK_SET) < 0)
                return -errno;
        *ret = h;
        h = (SaveHeader) { 0 };
        return 0;
}

int savefile_open(const char *file, SaveHeader *ret, char **ret_why)
{
        _cleanup_close_ int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        const char *why = NULL;
        int r;

        if (fd < 0) {
                r = -errno;
                *ret_why = strformat("%s cannot be read: %s", file, strerror(-r));
                return r;
        }
        r = read_header(fd, ret, &why);
        if (r < 0) {
                *ret_why = strformat("%s: %s", file, why ? why : strerror(-r));
                return r;
        }
        return TAKE_FD(fd);
}

int savesum_begin(SaveSum *s, int fd)
{
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        *s = (SaveSum) { .fd = fd, .at = SAVEFILE_HEADER_SIZE, .end = st.st_size, .state = { 1, 2, 3, 4 } };
        return 0;
}

int savesum_step(SaveSum *s, char text[static 17])
{
        const size_t chunk = 1 * MIB;
        _cleanup_free_ unsigned char *buf = malloc(chunk);

        if (!buf)
                return -ENOMEM;
        for (size_t done = 0; s->at < s->end && done < STEP;) {
                size_t want = (size_t) MIN2((int64_t) chunk, s->end - s->at), have = 0;

                while (have < want) {
                        ssize_t n = pread(s->fd, buf + have, want - have, s->at + (int64_t) have);

                        if (n <= 0)
                                return n < 0 ? -errno : -EIO;
                        have += (size_t) n;
                }
                add_block(s, buf, have);
                s->at += (int64_t) have;
                done += have;
        }
        if (s->at < s->end)
                return 0;
        sum_text(s, text);
        return 1;
}
