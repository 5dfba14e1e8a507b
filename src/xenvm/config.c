/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The configuration as a whole: lines, settings, cross checks, get and set. What a value of each type
 * looks like is in config-values.c and config-devices.c; which keys there are, in xenvm-keys.inc.
 */
#include "config.h"

#include "config-values.h"
#include "fs.h"
#include "log.h"
#include "parse.h"

#define PROBLEMS_MAX 1000
#define ADVICE_MAX 20

static const size_t offsets[_XENVM_KEY_MAX] = {
#define SECTION(title)
#define KEY(field, ...) [XENVM_KEY_##field] = offsetof(VmConfig, field),
#include "xenvm-keys.inc"
#undef KEY
#undef SECTION
};

static void *config_field(const VmConfig *c, XenvmKey key)
{
        return (char *) c + offsets[key];
}

/* ---- problems ---- */

void config_problems_done(ConfigProblems *p)
{
        for (size_t i = 0; i < p->n; i++) {
                free(p->items[i].key);
                free(p->items[i].text);
                free(p->items[i].detail);
        }
        free(p->items);
        *p = (ConfigProblems) { 0 };
}

/* detail is taken over. */
static int problem_add(ConfigProblems *p, ConfigSeverity severity, unsigned line, const char *key, const char *text,
                       char *detail)
{
        ConfigProblem *items, problem = { severity, line, NULL, NULL, detail };

        if (severity >= CONFIG_ERROR)
                p->n_errors++;
        p->n_lax += severity == CONFIG_LAX;
        p->fatal |= severity == CONFIG_FATAL;
        /* A file full of rubbish must not fill the log; what is fatal is always told. */
        if (p->n >= PROBLEMS_MAX && severity != CONFIG_FATAL) {
                free(detail);
                return 0;
        }
        problem.key = strdup(key);
        problem.text = strdup(text);
        items = reallocarray(p->items, p->n + 1, sizeof *items);
        if (items)
                p->items = items;
        if (!items || !problem.key || !problem.text) {
                free(problem.key);
                free(problem.text);
                free(detail);
                return -ENOMEM;
        }
        items[p->n++] = problem;
        return 0;
}

char *config_problem_format(const ConfigProblem *p, const char *file, bool strict)
{
        bool error = p->severity >= CONFIG_ERROR || (strict && p->severity == CONFIG_LAX);
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        char *s, key[256];

        strbuf_addf(&b, "config %s: %s: %s", error ? "error" : "warning", log_untrusted(key, sizeof key, p->key),
                    p->text);
        if (p->line) {
                strbuf_addf(&b, " (line %u", p->line);
                if (file)
                        strbuf_addf(&b, " of %s", file);
                strbuf_addf(&b, "%s%s)", p->detail ? ": " : "", strempty(p->detail));
        } else if (p->detail)
                strbuf_addf(&b, " (%s)", p->detail);
        return strbuf_take(&b, &s) < 0 ? NULL : s;
}

bool config_problems_stop(const ConfigProblems *p, bool strict)
{
        return p->fatal || (strict && (p->n_errors > 0 || p->n_lax > 0));
}

/* ---- settings ---- */

static void setting_free(VmConfig *c, size_t i)
{
        free(c->settings[i].value);
        memmove(c->settings + i, c->settings + i + 1, (--c->n_settings - i) * sizeof *c->settings);
}

static void setting_drop(VmConfig *c, XenvmKey key)
{
        for (size_t i = 0; i < c->n_settings; i++)
                if (c->settings[i].key == key) {
                        setting_free(c, i);
                        return;
                }
}

static int setting_record(VmConfig *c, XenvmKey key, const char *value, unsigned line, bool from_command)
{
        VmSetting s = { key, NULL, line, from_command }, *settings;

        if (!xenvm_type_is_list(xenvm_keys[key].type))
                setting_drop(c, key);
        settings = reallocarray(c->settings, c->n_settings + 1, sizeof *settings);
        if (!settings)
                return -ENOMEM;
        c->settings = settings;
        s.value = strdup(value);
        if (!s.value)
                return -ENOMEM;
        c->settings[c->n_settings++] = s;
        return 0;
}

static void value_free(const ValueType *t, void *value)
{
        if (t->done)
                t->done(value);
        memset(value, 0, t->size);
}

static int check_disk(ValueContext *v, const VmConfig *c, const VmDisk *d)
{
        for (size_t i = 0; i < c->disk.n; i++)
                if (c->disk.items[i].device == d->device) {
                        v->choices_tell = false;
                        return value_refuse(v, "device %s (%u) is used by the disk of line %u already", d->virtpath,
                                            d->device, c->disk.items[i].line);
                }
        return 0;
}

static void element_set_line(XenvmType type, void *element, unsigned line)
{
        if (type == XENVM_DISK)
                ((VmDisk *) element)->line = line;
        else if (type == XENVM_NIC)
                ((VmNic *) element)->line = line;
        else if (type == XENVM_PCI)
                ((VmPci *) element)->line = line;
}

static int list_append(ValueList *l, const void *element, size_t size)
{
        char *items = reallocarray(l->items, l->n + 1, size);

        if (!items)
                return -ENOMEM;
        l->items = items;
        memcpy(items + l->n++ * size, element, size);
        return 0;
}

/* Parses one setting and puts it into the config. On failure nothing was changed. */
static int config_apply(VmConfig *c, ValueContext *v, XenvmKey key, const char *text, unsigned line)
{
        const XenvmKeyInfo *k = &xenvm_keys[key];
        const ValueType *t = &value_types[k->type];
        union { /* large and aligned enough for any value */
                VmDisk disk;
                VmNic nic;
                VmPci pci;
                VmCpuid cpuid;
                VmNotify notify;
                VmDisplay display;
        } value = { 0 };
        void *field = config_field(c, key);
        int r;

        r = t->parse(v, k, text, &value);
        if (r >= 0 && xenvm_type_is_list(k->type) && ((ValueList *) field)->n >= CONFIG_LIST_MAX)
                r = value_refuse(v, "more than %d lines", CONFIG_LIST_MAX);
        if (r >= 0 && k->type == XENVM_DISK)
                r = check_disk(v, c, &value.disk);
        if (r >= 0 && k->type == XENVM_NIC) {
                /* As it was understood: a random MAC must not be another one in a copy. */
                _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
                _cleanup_free_ char *form = NULL;

                t->format(k, &value, false, &b);
                r = strbuf_take(&b, &form);
                if (r >= 0)
                        r = setting_record(c, key, form, line, v->from_command);
        } else if (r >= 0)
                r = setting_record(c, key, text, line, v->from_command);
        if (r >= 0) {
                if (xenvm_type_is_list(k->type)) {
                        element_set_line(k->type, &value, line);
                        r = list_append(field, &value, t->size);
                } else {
                        value_free(t, field);
                        memcpy(field, &value, t->size);
                }
        }
        if (r < 0)
                value_free(t, &value);
        return r;
}

static int config_new(VmConfig **ret)
{
        _cleanup_config_ VmConfig *c = calloc(1, sizeof *c);

        if (!c)
                return -ENOMEM;
        for (XenvmKey key = 0; key < _XENVM_KEY_MAX; key++) {
                const XenvmKeyInfo *k = &xenvm_keys[key];
                ValueContext v = { 0 };
                int r = 0;

                if (k->fallback)
                        r = value_types[k->type].parse(&v, k, k->fallback, config_field(c, key));
                else if (k->type == XENVM_INT)
                        *(int64_t *) config_field(c, key) = -1;
                else if (k->type == XENVM_OPT_INT)
                        *(int64_t *) config_field(c, key) = XENVM_UNSET;
                value_context_done(&v);
                if (r < 0)
                        return r;
        }
        c->display.port_given = false;
        *ret = TAKE_PTR(c);
        return 0;
}

VmConfig *vmconfig_free(VmConfig *c)
{
        if (!c)
                return NULL;
        for (XenvmKey key = 0; key < _XENVM_KEY_MAX; key++) {
                const ValueType *t = &value_types[xenvm_keys[key].type];
                void *field = config_field(c, key);

                if (xenvm_type_is_list(xenvm_keys[key].type)) {
                        ValueList *l = field;

                        for (size_t i = 0; i < l->n; i++)
                                value_free(t, l->items + i * t->size);
                        free(l->items);
                } else
                        value_free(t, field);
        }
        for (size_t i = 0; i < c->n_settings; i++)
                free(c->settings[i].value);
        free(c->settings);
        free(c->file);
        free(c->blocked_why);
        free(c);
        return NULL;
}

/* ---- what the lines mean together ---- */

static int nic_compare(const void *a, const void *b)
{
        const VmNic *x = a, *y = b;

        return (x->id > y->id) - (x->id < y->id);
}

/* Gives ids to the cards without one, in file order, then addresses. Returns -EINVAL with why. */
static int config_assign_nics(VmConfig *c, ValueContext *v, unsigned *ret_line)
{
        uint32_t taken = 0;

        for (size_t i = 0; i < c->nic.n; i++) {
                VmNic *n = &c->nic.items[i];

                *ret_line = n->line;
                if (n->id == -1)
                        continue;
                if (n->id < 0 || n->id > 31)
                        return value_refuse(v, "id %lld is not from 0 to 31", (long long) n->id);
                if (taken & (UINT32_C(1) << n->id))
                        return value_refuse(v, "two cards have the id %lld", (long long) n->id);
                taken |= UINT32_C(1) << n->id;
        }
        for (size_t i = 0; i < c->nic.n; i++) {
                VmNic *n = &c->nic.items[i];

                *ret_line = n->line;
                if (n->id == -1) {
                        if (taken == UINT32_MAX)
                                return value_refuse(v, "more than 32 cards");
                        n->id = __builtin_ctz(~taken);
                        taken |= UINT32_C(1) << n->id;
                }
                if (!n->mac_given)
                        vm_mac_derive(n->id, n->model, c->uuid, n->mac);
        }
        if (c->nic.n > 1)
                qsort(c->nic.items, c->nic.n, sizeof *c->nic.items, nic_compare);
        return 0;
}

static void config_join_pci_groups(VmConfig *c)
{
        for (size_t i = 0; i < c->pci.n; i++)
                for (size_t j = 0; c->pci.items[i].bind && j < c->pci.n; j++)
                        if (c->pci.items[j].devid == c->pci.items[i].devid)
                                c->pci.items[j].bind = true;
}

static void config_apply_platform(VmConfig *c)
{
        for (size_t i = 0; i < c->platform.n; i++) {
                const VmPair *p = &c->platform.items[i];
                ValueContext v = { 0 };

                if (streq(p->name, "hap") && p->value)
                        value_parse_bool(&v, &xenvm_keys[XENVM_KEY_hap], p->value, &c->hap);
                value_context_done(&v);
        }
}

static int config_set_uuid(VmConfig *c, const char *uuid)
{
        char *copy = strdup(uuid);

        if (!copy)
                return -ENOMEM;
        free(c->uuid);
        c->uuid = copy;
        return 0;
}

/* uuid: of the command line, or NULL. Returns -EINVAL with why and the line for a fatal fault. */
static int config_finish(VmConfig *c, const char *uuid, ValueContext *v, unsigned *ret_line)
{
        char random[37];
        int r = 0;

        if (uuid)
                r = config_set_uuid(c, uuid);
        else if (!c->uuid) {
                c->uuid_generated = true;
                r = uuid_random(random) ? config_set_uuid(c, random) : -EIO;
        }
        if (r < 0)
                return r;
        config_join_pci_groups(c);
        config_apply_platform(c);
        return config_assign_nics(c, v, ret_line);
}

/* ---- reading a file ---- */

static char *strip_blanks(char *s)
{
        size_t n;

        s += strspn(s, " \t");
        n = strlen(s);
        while (n > 0 && (s[n - 1] == ' ' || s[n - 1] == '\t'))
                s[--n] = '\0';
        return s;
}

static char *describe_refusal(const char *value, XenvmKey key, bool accepted)
{
        char buf[160], cut[200];

        if (!accepted)
                return NULL;
        return strformat("found '%s'; accepted: %s", log_untrusted(cut, sizeof cut, value),
                         xenvm_key_accepts(key, buf, sizeof buf));
}

static int config_block(VmConfig *c, ConfigProblems *problems, const char *key, const char *why, unsigned line)
{
        problems->critical = true;
        if (c->blocked)
                return 0;
        c->blocked = true;
        c->blocked_why = strformat("config error: %s: %s (line %u)", key, why, line);
        return c->blocked_why ? 0 : -ENOMEM;
}

static int config_take_setting(VmConfig *c, ConfigProblems *problems, const char *name, const char *value,
                               unsigned line)
{
        XenvmKey key = xenvm_key_find(name);
        ValueContext v = { 0 };
        int r;

        if (key == _XENVM_KEY_MAX) {
                /* A file full of rubbish needs no advice for each line. */
                XenvmKey near = problems->n < ADVICE_MAX ? xenvm_key_nearest(name) : _XENVM_KEY_MAX;

                return problem_add(problems, CONFIG_ERROR, line, name, "unknown key",
                                   near < _XENVM_KEY_MAX ? strformat("did you mean '%s'?", xenvm_keys[near].name)
                                                         : NULL);
        }
        r = config_apply(c, &v, key, value, line);
        if (r == -EINVAL) {
                bool fatal = xenvm_keys[key].type == XENVM_UUID;

                r = problem_add(problems, fatal ? CONFIG_FATAL : CONFIG_ERROR, line, name, v.why,
                                describe_refusal(value, key, v.choices_tell));
                if (r >= 0 && (xenvm_keys[key].flags & XENVM_CRITICAL))
                        r = config_block(c, problems, name, v.why, line);
        } else if (r >= 0) {
                for (char **n = v.notes; n && *n && r >= 0; n++)
                        r = problem_add(problems, CONFIG_NOTE, line, name, *n, NULL);
                /* Comments behind values are a habit of other formats. */
                if (r >= 0 && (strstr(value, " #") || strstr(value, "\t#")))
                        r = problem_add(problems, CONFIG_NOTE, line, name, "'#' does not start a comment here",
                                        strdup("it is part of the value"));
        }
        value_context_done(&v);
        return r;
}

static int config_take_line(VmConfig *c, ConfigProblems *problems, char *line, size_t size, unsigned number)
{
        char *s, *value;

        if (strlen(line) != size)
                return problem_add(problems, CONFIG_ERROR, number, strip_blanks(line), "NUL byte", NULL);
        if (size > 0 && line[size - 1] == '\r')
                line[size - 1] = '\0';
        s = strip_blanks(line);
        if (!*s || *s == '#')
                return 0;
        value = strchr(s, '=');
        if (!value)
                return problem_add(problems, CONFIG_LAX, number, s, "'=' is missing", NULL);
        *value++ = '\0';
        return config_take_setting(c, problems, strip_blanks(s), strip_blanks(value), number);
}

int vmconfig_parse(const char *text, size_t size, const char *uuid, ConfigProblems *problems, VmConfig **ret)
{
        _cleanup_config_ VmConfig *c = NULL;
        ValueContext v = { 0 };
        unsigned line = 0;
        int r;

        r = config_new(&c);
        while (r >= 0 && size > 0) {
                const char *end = memchr(text, '\n', size);
                size_t n = end ? (size_t) (end - text) : size;
                _cleanup_free_ char *copy = malloc(n + 1);

                if (!copy)
                        return -ENOMEM;
                memcpy(copy, text, n);
                copy[n] = '\0';
                r = config_take_line(c, problems, copy, n, ++line);
                text += n + (end != NULL);
                size -= n + (end != NULL);
        }
        if (r < 0)
                return r;
        if (problems->fatal)
                return -EBADMSG;
        line = 0;
        r = config_finish(c, uuid, &v, &line);
        if (r == -EINVAL)
                r = problem_add(problems, CONFIG_FATAL, line, "nic", v.why, NULL);
        value_context_done(&v);
        if (r < 0)
                return r;
        if (problems->fatal)
                return -EBADMSG;
        *ret = TAKE_PTR(c);
        return 0;
}

int vmconfig_load(const char *path, const char *uuid, ConfigProblems *problems, VmConfig **ret)
{
        _cleanup_config_ VmConfig *c = NULL;
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r;

        r = read_file(path, CONFIG_FILE_MAX, &text, &size);
        if (r < 0)
                return r;
        r = vmconfig_parse(text, size, uuid, problems, &c);
        if (r < 0)
                return r;
        c->file = strdup(path);
        if (!c->file)
                return -ENOMEM;
        *ret = TAKE_PTR(c);
        return 0;
}

int vmconfig_new(const char *uuid, VmConfig **ret)
{
        _cleanup_config_ VmConfig *c = NULL;
        ValueContext v = { 0 };
        unsigned line;
        int r;

        r = config_new(&c);
        if (r >= 0)
                r = config_finish(c, uuid, &v, &line);
        value_context_done(&v);
        if (r < 0)
                return r;
        c->startup.mode = VM_STARTUP_SHUTDOWN;
        *ret = TAKE_PTR(c);
        return 0;
}

int vmconfig_copy(const VmConfig *from, VmConfig **ret)
{
        _cleanup_config_ VmConfig *c = NULL;
        ValueContext v = { 0 };
        unsigned line;
        int r;

        r = config_new(&c);
        for (size_t i = 0; i < from->n_settings && r >= 0; i++) {
                const VmSetting *s = &from->settings[i];

                v.from_command = s->from_command;
                r = config_apply(c, &v, s->key, s->value, s->line);
        }
        if (r >= 0)
                r = config_finish(c, from->uuid, &v, &line);
        value_context_done(&v);
        if (r >= 0 && from->file && !(c->file = strdup(from->file)))
                r = -ENOMEM;
        if (r >= 0 && from->blocked_why && !(c->blocked_why = strdup(from->blocked_why)))
                r = -ENOMEM;
        if (r < 0)
                return r;
        c->blocked = from->blocked;
        c->uuid_generated = from->uuid_generated;
        if (!vmconfig_given(from, XENVM_KEY_startup))
                c->startup.mode = from->startup.mode;
        *ret = TAKE_PTR(c);
        return 0;
}

/* A line for each setting: its line in the file, f(ile) or c(ommand), key and value. */
int vmconfig_text(const VmConfig *c, char **ret)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;

        strbuf_add(&b, "");
        for (size_t i = 0; i < c->n_settings; i++) {
                const VmSetting *s = &c->settings[i];

                strbuf_addf(&b, "%u %c %s %s\n", s->line, s->from_command ? 'c' : 'f', xenvm_keys[s->key].name, s->value);
        }
        return strbuf_take(&b, ret);
}

int vmconfig_from_text(const char *text, const char *uuid, VmConfig **ret)
{
        _cleanup_free_ char *copy = strdup(text);
        _cleanup_config_ VmConfig *c = NULL;
        ValueContext v = { 0 };
        char *rest = copy, *l;
        unsigned line;
        int r = copy ? config_new(&c) : -ENOMEM;

        while (r >= 0 && (l = strsep(&rest, "\n")) && *l) {
                char how = 0, name[64];
                int n = 0;
                XenvmKey key = sscanf(l, "%u %c %63s%n", &line, &how, name, &n) == 3 && l[n] == ' ' ? xenvm_key_find(name) : _XENVM_KEY_MAX;

                v.from_command = how == 'c';
                r = key < _XENVM_KEY_MAX ? config_apply(c, &v, key, l + n + 1, line) : -EBADMSG;
        }
        if (r >= 0)
                r = config_finish(c, uuid, &v, &line);
        value_context_done(&v);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(c);
        return 0;
}

/* ---- get, set, add ---- */

int vmconfig_get(const VmConfig *c, const char *field, char **ret)
{
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        XenvmKey key = xenvm_key_find(field);

        if (streq(field, "required-to-boot-kib"))
                strbuf_addf(&b, "%llu", (unsigned long long) vmconfig_required_kib(c));
        else if (key == _XENVM_KEY_MAX || !(xenvm_keys[key].flags & XENVM_GS))
                return -ENOENT;
        else
                value_types[xenvm_keys[key].type].format(&xenvm_keys[key], config_field(c, key), true, &b);
        return strbuf_take(&b, ret);
}

static int take_why(ValueContext *v, XenvmKey key, const char *value, char **ret_why)
{
        _cleanup_free_ char *detail = describe_refusal(value, key, v->choices_tell);

        *ret_why = strformat("%s: %s%s%s%s", xenvm_keys[key].name, strempty(v->why), detail ? " (" : "",
                             strempty(detail), detail ? ")" : "");
        return *ret_why ? -EINVAL : -ENOMEM;
}

int vmconfig_set(VmConfig *c, const char *field, const char *value, char **ret_why)
{
        XenvmKey key = xenvm_key_find(field);
        ValueContext v = { .from_command = true };
        int r;

        if (key == _XENVM_KEY_MAX || !(xenvm_keys[key].flags & XENVM_GS))
                return -ENOENT;
        if (strpbrk(value, "\n\r"))
                r = value_refuse(&v, "a value is one line");
        else
                r = config_apply(c, &v, key, value, 0);
        if (r == -EINVAL)
                r = take_why(&v, key, value, ret_why);
        value_context_done(&v);
        return r;
}

int vmconfig_add(VmConfig *c, XenvmKey key, const char *value, char **ret_why)
{
        _cleanup_config_ VmConfig *tried = NULL;
        ValueContext v = { 0 };
        unsigned line;
        int r;

        /* On a copy, since ids of cards are only known to fit when all are looked at. */
        r = vmconfig_copy(c, &tried);
        if (r < 0)
                return r;
        r = strpbrk(value, "\n\r") ? value_refuse(&v, "a value is one line") : config_apply(tried, &v, key, value, 0);
        if (r >= 0)
                r = config_finish(tried, c->uuid, &v, &line);
        if (r == -EINVAL)
                r = take_why(&v, key, value, ret_why);
        value_context_done(&v);
        if (r >= 0) {
                VmConfig t = *c;

                *c = *tried;
                *tried = t;
        }
        return r;
}

int vmconfig_changed(VmConfig *c, XenvmKey key)
{
        size_t before = c->n_settings;
        int r = 0;

        for (size_t i = 0; i < vmconfig_count(c, key) && r >= 0; i++) {
                _cleanup_free_ char *form = NULL;

                r = vmconfig_format(c, key, i, &form);
                if (r >= 0)
                        r = setting_record(c, key, form, 0, false);
        }
        /* The old settings of the list, which come first; after a failure the new ones. */
        for (size_t i = r < 0 ? before : 0; i < (r < 0 ? c->n_settings : before);)
                if (c->settings[i].key == key) {
                        setting_free(c, i);
                        before -= r >= 0;
                } else
                        i++;
        return r;
}

int vmconfig_remove(VmConfig *c, XenvmKey key, size_t i)
{
        const ValueType *t = &value_types[xenvm_keys[key].type];
        ValueList *l = config_field(c, key);

        value_free(t, l->items + i * t->size);
        memmove(l->items + i * t->size, l->items + (i + 1) * t->size, (--l->n - i) * t->size);
        return vmconfig_changed(c, key);
}

static int parse_element(XenvmKey key, const char *value, void *ret, char **ret_why)
{
        const ValueType *t = &value_types[xenvm_keys[key].type];
        ValueContext v = { 0 };
        int r;

        memset(ret, 0, t->size);
        r = t->parse(&v, &xenvm_keys[key], value, ret);
        if (r < 0)
                value_free(t, ret);
        if (r == -EINVAL)
                r = take_why(&v, key, value, ret_why);
        value_context_done(&v);
        return r;
}

int vmconfig_parse_disk(const char *value, VmDisk *ret, char **ret_why)
{
        return parse_element(XENVM_KEY_disk, value, ret, ret_why);
}

int vmconfig_parse_nic(const char *value, VmNic *ret, char **ret_why)
{
        return parse_element(XENVM_KEY_nic, value, ret, ret_why);
}

int vmconfig_parse_pci(const char *value, VmPci *ret, char **ret_why)
{
        return parse_element(XENVM_KEY_pci, value, ret, ret_why);
}

int vmconfig_format(const VmConfig *c, XenvmKey key, size_t i, char **ret)
{
        const ValueType *t = &value_types[xenvm_keys[key].type];
        _cleanup_strbuf_ StrBuf b = STRBUF_INIT;
        const char *value = config_field(c, key);

        if (xenvm_type_is_list(xenvm_keys[key].type))
                value = ((const ValueList *) value)->items + i * t->size;
        t->format(&xenvm_keys[key], value, false, &b);
        return strbuf_take(&b, ret);
}

size_t vmconfig_count(const VmConfig *c, XenvmKey key)
{
        const void *field = config_field(c, key);

        switch (xenvm_keys[key].type) {
        case XENVM_UUID:
        case XENVM_OPT_TEXT:
                return *(char *const *) field != NULL;
        case XENVM_OPT_INT:
                return *(const int64_t *) field != XENVM_UNSET;
        case XENVM_INT:
                return xenvm_keys[key].fallback || *(const int64_t *) field != -1;
        default:
                return xenvm_type_is_list(xenvm_keys[key].type) ? ((const ValueList *) field)->n : 1;
        }
}

bool vmconfig_given(const VmConfig *c, XenvmKey key)
{
        for (size_t i = 0; i < c->n_settings; i++)
                if (c->settings[i].key == key)
                        return true;
        return false;
}
