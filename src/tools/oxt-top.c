/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * oxt top: a live table of VMs. Each VM's monitor counts what it uses (org.oxt.Xenmgr1.Usage); two looks at the
 * counters give the rates.
 */
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "daemon.h"
#include "json.h"
#include "log.h"
#include "oxt-vm.h"
#include "strbuf.h"

#define MSEC_PER_TICK 100

typedef enum Column {
        COLUMN_ID,
        COLUMN_NAME,
        COLUMN_STATE,
        COLUMN_CPU,
        COLUMN_MEMORY,
        COLUMN_DISK_READ,
        COLUMN_DISK_WRITTEN,
        COLUMN_NET_IN,
        COLUMN_NET_OUT,
        _COLUMN_MAX,
} Column;

/* The first three are what the manager says; the others what a counter says. */
static const struct {
        const char *title, *word; /* word: for --sort */
        int width;
        char key;                 /* sorts by it */
        const char *counter;      /* the member of Usage */
        const char *json;
        bool rate;
} columns[_COLUMN_MAX] = {
        [COLUMN_ID] = { "ID", "id", 4, 'i', NULL, "domid", false },
        [COLUMN_NAME] = { "NAME", "name", -20, 'n', NULL, "name", false },
        [COLUMN_STATE] = { "STATE", "state", -10, 's', NULL, "state", false },
        [COLUMN_CPU] = { "CPU%", "cpu", 6, 'c', "cpu_usec", "cpu_percent", true },
        [COLUMN_MEMORY] = { "MEMORY", "memory", 7, 'm', "memory_kib", "memory_kib", false },
        [COLUMN_DISK_READ] = { "READ/s", "read", 7, 'r', "disk_read", "disk_read_rate", true },
        [COLUMN_DISK_WRITTEN] = { "WRITE/s", "write", 7, 'w', "disk_written", "disk_write_rate", true },
        [COLUMN_NET_IN] = { "IN/s", "in", 7, 'd', "net_in", "net_in_rate", true },
        [COLUMN_NET_OUT] = { "OUT/s", "out", 7, 'u', "net_out", "net_out_rate", true },
};

static bool arg_json, arg_batch;
static int64_t arg_number = -1, arg_delay = 2;
static const char *arg_sort = "cpu";

/* One VM. Counters are -1 where unknown, as is what is made of them. */
typedef struct Row {
        char *uuid, *name, *state;
        int64_t domid;
        int64_t at, counters[_COLUMN_MAX];
        double shown[_COLUMN_MAX];
        size_t *waiting;
} Row;

typedef struct Table {
        Row *rows;
        size_t n, waiting;
} Table;

static void table_done(Table *t)
{
        for (size_t i = 0; i < t->n; i++) {
                free(t->rows[i].uuid);
                free(t->rows[i].name);
                free(t->rows[i].state);
        }
        free(t->rows);
        *t = (Table) { 0 };
}

/* ---- the numbers ---- */

static int on_usage(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *error)
{
        _cleanup_json_ json_object *o = NULL;
        Row *row = userdata;
        const char *text;

        --*row->waiting;
        /* One that has ended meanwhile has no numbers. */
        if (sd_bus_message_is_method_error(m, NULL) || sd_bus_message_read(m, "s", &text) < 0 ||
            json_parse(text, strlen(text), 4, &o) < 0)
                return 0;
        row->at = json_get_int(o, "at_usec", -1);
        for (Column c = 0; c < _COLUMN_MAX; c++)
                if (columns[c].counter)
                        row->counters[c] = json_get_int(o, columns[c].counter, -1);
        return 0;
}

static int table_load(Table *t, VmCommand *c)
{
        _cleanup_vmtable_ VmTable l = { .program = c->name };
        int r = vmtable_load(&l, c->bus);

        if (r < 0)
                return r;
        vmtable_sort(&l);
        t->rows = calloc(l.n + 1, sizeof *t->rows);
        if (!t->rows)
                return log_oom();
        for (size_t i = 0; i < l.n; i++) {
                Row *row = &t->rows[t->n++];

                *row = (Row) { TAKE_PTR(l.items[i].uuid), TAKE_PTR(l.items[i].name), TAKE_PTR(l.items[i].state),
                               .domid = l.items[i].domid, .at = -1, .waiting = &t->waiting };
                memset(row->counters, 0xff, sizeof row->counters);
                if (row->domid >= 0 && sd_bus_call_method_async(c->bus, NULL, XENMGR, l.items[i].path, "org.oxt.Xenmgr1",
                                                                "Usage", on_usage, row, NULL) >= 0)
                        t->waiting++;
        }
        r = bus_wait_answers(c->bus, &t->waiting);
        if (r < 0)
                log_errno(r, "The connection to the bus broke");
        return r;
}

/* Counters of another start of the VM are no basis: they are smaller, or the number is another one. */
static const Row *row_before(const Table *before, const Row *row)
{
        for (size_t i = 0; i < before->n; i++)
                if (streq(before->rows[i].uuid, row->uuid))
                        return before->rows[i].domid == row->domid && before->rows[i].at >= 0 && row->at > before->rows[i].at
                                       ? &before->rows[i] : NULL;
        return NULL;
}

static void table_rates(Table *t, const Table *before)
{
        for (size_t i = 0; i < t->n; i++) {
                Row *row = &t->rows[i];
                const Row *old = row_before(before, row);

                for (Column c = 0; c < _COLUMN_MAX; c++) {
                        int64_t now = row->counters[c];

                        row->shown[c] = -1;
                        if (!columns[c].rate)
                                row->shown[c] = (double) now;
                        else if (old && now >= 0 && old->counters[c] >= 0 && now >= old->counters[c])
                                row->shown[c] = (double) (now - old->counters[c]) * 1e6 / (double) (row->at - old->at);
                }
                if (row->shown[COLUMN_CPU] >= 0) /* microseconds a second */
                        row->shown[COLUMN_CPU] /= 1e4;
        }
}

/* ---- the table ---- */

static Column sort_by;

static int compare(const void *a, const void *b)
{
        const Row *x = a, *y = b;
        int r = 0;

        if (sort_by == COLUMN_ID)
                r = (x->domid > y->domid) - (x->domid < y->domid);
        else if (sort_by == COLUMN_STATE)
                r = strcmp(x->state, y->state);
        else if (sort_by != COLUMN_NAME)
                r = (x->shown[sort_by] < y->shown[sort_by]) - (x->shown[sort_by] > y->shown[sort_by]);
        if (r == 0) /* what is not known yet, or not at all: running ones first */
                r = (y->domid >= 0) - (x->domid >= 0);
        if (r == 0)
                r = strcmp(x->name, y->name);
        return r ? r : strcmp(x->uuid, y->uuid);
}

static void table_sort(Table *t)
{
        if (t->n > 1)
                qsort(t->rows, t->n, sizeof *t->rows, compare);
}

static void print_json(const Table *t)
{
        json_object *list = json_object_new_array();

        for (size_t i = 0; i < t->n; i++) {
                const Row *row = &t->rows[i];
                json_object *o = json_object_new_object();

                json_object_object_add(o, "uuid", json_object_new_string(row->uuid));
                json_object_object_add(o, "name", json_object_new_string(row->name));
                json_object_object_add(o, "state", json_object_new_string(row->state));
                json_object_object_add(o, "domid", row->domid < 0 ? NULL : json_object_new_int64(row->domid));
                for (Column c = COLUMN_CPU; c < _COLUMN_MAX; c++)
                        json_object_object_add(o, columns[c].json, row->shown[c] < 0 ? NULL
                                               : columns[c].rate ? json_object_new_double(row->shown[c])
                                                                 : json_object_new_int64((int64_t) row->shown[c]));
                json_object_array_add(list, o);
        }
        puts(json_object_to_json_string_ext(list, JSON_C_TO_STRING_PLAIN));
        (void) fflush(stdout);
        json_object_put(list);
}

/* 1536 KiB as "1.5M". */
static void format_bytes(char buf[static 24], double bytes)
{
        static const char units[] = "BKMGTP";
        size_t u = 0;

        while (bytes >= 1024 && u + 2 < sizeof units) {
                bytes /= 1024;
                u++;
        }
        snprintf(buf, 24, u == 0 || bytes >= 100 ? "%.0f%c" : "%.1f%c", bytes, units[u]);
}

/* Fits text into width columns, to the right of them or, with a negative width, to the left. Characters count, not bytes. */
static void print_cell(StrBuf *b, const char *text, int width)
{
        int room = abs(width), n = 0;
        const char *p = text;

        for (; *p && (n < room || ((unsigned char) *p & 0xc0) == 0x80); p++)
                n += ((unsigned char) *p & 0xc0) != 0x80;
        strbuf_addf(b, "%*s%.*s%*s", width > 0 ? room - n : 0, "", (int) (p - text), text, width < 0 ? room - n : 0, "");
}

static int name_width;

/* All of them fit into 80 columns; the names have what is left. */
static int column_width(Column c)
{
        return c == COLUMN_NAME && name_width > 0 ? -name_width : columns[c].width;
}

static void print_value(StrBuf *b, const Row *row, Column c)
{
        char text[24] = "-";

        if (c == COLUMN_NAME || c == COLUMN_STATE) {
                print_cell(b, c == COLUMN_NAME ? row->name : row->state, column_width(c));
                return;
        }
        if (c == COLUMN_ID && row->domid >= 0)
                snprintf(text, sizeof text, "%lld", (long long) row->domid);
        else if (c == COLUMN_CPU && row->shown[c] >= 0)
                snprintf(text, sizeof text, "%.1f", row->shown[c]);
        else if (c > COLUMN_CPU && row->shown[c] >= 0)
                format_bytes(text, c == COLUMN_MEMORY ? row->shown[c] * 1024 : row->shown[c]);
        print_cell(b, text, columns[c].width);
}

/* A row, or the heading for NULL; cut or filled to width, 0: as long as it is. */
static void print_row(StrBuf *b, const Row *row, int width)
{
        _cleanup_strbuf_ StrBuf line = STRBUF_INIT;

        for (Column c = 0; c < _COLUMN_MAX; c++) {
                strbuf_add(&line, c > 0 ? " " : "");
                if (row)
                        print_value(&line, row, c);
                else
                        print_cell(&line, columns[c].title, column_width(c));
        }
        if (width > 0)
                print_cell(b, strempty(line.data), -width);
        else
                strbuf_add(b, strempty(line.data));
}

static void print_table(StrBuf *b, const Table *t)
{
        for (size_t i = 0; i <= t->n; i++) {
                print_row(b, i > 0 ? &t->rows[i - 1] : NULL, 0);
                strbuf_addc(b, '\n');
        }
}

static void write_out(StrBuf *b)
{
        if (b->data)
                fwrite(b->data, 1, b->len, stdout);
        fflush(stdout);
        strbuf_done(b);
}

/* ---- the screen ---- */

static volatile sig_atomic_t ended, resized;

static void on_end(_unused_ int sig)
{
        ended = 1;
}

static void on_resize(_unused_ int sig)
{
        resized = 1;
}

static void draw(const Table *t)
{
        struct winsize size = { 0 };
        size_t running = 0;
        StrBuf b = STRBUF_INIT;
        char head[96];

        if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_row == 0 || size.ws_col == 0)
                size = (struct winsize) { .ws_row = 24, .ws_col = 80 };
        name_width = size.ws_col;
        for (Column c = 0; c < _COLUMN_MAX; c++)
                name_width -= c == COLUMN_NAME ? 0 : abs(columns[c].width) + 1;
        name_width = MAX2(name_width, 16);
        for (size_t i = 0; i < t->n; i++)
                running += t->rows[i].domid >= 0;
        snprintf(head, sizeof head, "%zu VMs, %zu running; by %s; i n s c m r w d u sort by a column, q quits", t->n, running,
                 columns[sort_by].word);
        strbuf_add(&b, "\033[H");
        print_cell(&b, head, -(int) MAX2(size.ws_col, 1));
        strbuf_add(&b, "\r\n\033[7m");
        print_row(&b, NULL, size.ws_col);
        strbuf_add(&b, "\033[0m");
        for (size_t i = 0; i < t->n && i + 2 < size.ws_row; i++) {
                strbuf_add(&b, "\r\n");
                print_row(&b, &t->rows[i], size.ws_col);
        }
        strbuf_add(&b, "\033[J");
        write_out(&b);
}

/* true: the key ends it. */
static bool take_key(char key, Table *t)
{
        if (key == 'q' || key == 'Q')
                return true;
        for (Column c = 0; c < _COLUMN_MAX; c++)
                if (columns[c].key == key) {
                        sort_by = c;
                        table_sort(t);
                        draw(t);
                }
        return false;
}

/* Waits for the next look; true: the user, or a signal, wants no more. */
static bool wait_keys(Table *t)
{
        struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
        uint64_t end = now_usec() + (uint64_t) arg_delay * USEC_PER_SEC;

        while (!ended && now_usec() < end) {
                char key;

                if (resized) {
                        resized = 0;
                        draw(t);
                }
                if (poll(&p, 1, MSEC_PER_TICK) > 0 && (read(STDIN_FILENO, &key, 1) != 1 || take_key(key, t)))
                        return true;
        }
        return ended;
}

static void pause_between(void)
{
        uint64_t end = now_usec() + (uint64_t) arg_delay * USEC_PER_SEC;

        while (!ended && now_usec() < end)
                (void) poll(NULL, 0, MSEC_PER_TICK);
}

static int run(VmCommand *c, bool screen)
{
        _cleanup_(table_done) Table before = { 0 };
        int64_t shown = 0;
        int r;

        r = table_load(&before, c);
        if (r >= 0 && screen) {
                table_rates(&before, &(Table) { 0 });
                table_sort(&before);
                draw(&before);
                ended |= wait_keys(&before);
        } else
                pause_between();
        while (r >= 0 && !ended && (arg_number < 0 || shown < arg_number)) {
                Table t = { 0 };

                r = table_load(&t, c);
                if (r >= 0) {
                        table_rates(&t, &before);
                        table_sort(&t);
                        if (screen)
                                draw(&t);
                        else if (arg_json)
                                print_json(&t);
                        else {
                                StrBuf b = STRBUF_INIT;

                                print_table(&b, &t);
                                write_out(&b);
                        }
                }
                table_done(&before);
                before = t;
                if (r < 0 || (arg_number >= 0 && ++shown >= arg_number))
                        break;
                if (screen)
                        ended |= wait_keys(&before);
                else
                        pause_between();
        }
        return r;
}

int oxt_top(int argc, char *argv[], _unused_ void *userdata)
{
        static const Option options[] = {
                { "batch", 'b', NULL, OPTION_FLAG, &arg_batch, "Print tables one after the other, for files and pipes", NULL },
                { "json", 0, NULL, OPTION_FLAG, &arg_json, "Print a line of JSON each time", NULL },
                { "number", 'n', "N", OPTION_INT, &arg_number, "How often to show it, then end", NULL },
                { "delay", 'd', "SECONDS", OPTION_INT, &arg_delay, "The time between two looks (2)", NULL },
                { "sort", 's', "COLUMN", OPTION_STRING, &arg_sort, "The column to sort by (cpu)",
                  "id name state cpu memory read write in out" },
                { 0 }
        };
        static const Program program = { .name = "oxt top", .synopsis = "[OPTIONS]", .options = options, .flags = PROGRAM_PERMUTE,
                                         .summary = "Shows what VMs use of the host, again and again." };
        struct sigaction end = { .sa_handler = on_end }, resize = { .sa_handler = on_resize };
        _cleanup_vmcommand_ VmCommand c = { 0 };
        struct termios before, raw;
        bool screen;
        int status, r;

        if (vmcommand_open(&c, &program, 0, 0, argc, argv, &status) < 0)
                return status;
        if (arg_delay < 1 || arg_delay > 3600) {
                fprintf(stderr, "oxt top: --delay: 1 to 3600 seconds\n");
                return 2;
        }
        while (!streq(columns[sort_by].word, arg_sort))
                sort_by++;
        sigaction(SIGINT, &end, NULL);
        sigaction(SIGTERM, &end, NULL);
        sigaction(SIGHUP, &end, NULL);
        sigaction(SIGWINCH, &resize, NULL);
        screen = !arg_batch && !arg_json && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) &&
                 tcgetattr(STDIN_FILENO, &before) == 0;
        if (screen) {
                raw = before;
                raw.c_lflag &= ~(tcflag_t) (ICANON | ECHO);
                (void) tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
                fputs("\033[?1049h\033[?25l", stdout); /* a screen of its own, without cursor */
        }
        r = run(&c, screen);
        if (screen) {
                fputs("\033[?25h\033[?1049l", stdout);
                (void) fflush(stdout);
                (void) tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
        }
        return r < 0;
}
