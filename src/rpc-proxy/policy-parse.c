/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading rules. One pass over the text; each bad line is told once, with the column and what would be
 * accepted there, and reading goes on behind it, so that all mistakes of a file are seen at once.
 */
#include "policy-internal.h"

#include <ctype.h>
#include <locale.h>
#include <stdarg.h>
#include <wctype.h>

#include "fs.h"
#include "parse.h"
#include "strbuf.h"

typedef enum TokenType { TOKEN_WORD, TOKEN_EOL, TOKEN_END, TOKEN_BAD } TokenType;

/* What kinds of value may stand at a place, beside the end of the line. */
typedef enum Lexis { LEXIS_WORD, LEXIS_PATH, LEXIS_TEXT } Lexis;

typedef struct Reader {
        Policy *policy;
        const char *file;
        const char *p, *end;
        const char *line_start;
        unsigned line;
        const PolicyErrors *errors;
        bool failed; /* a syntax error was told */
        bool lax;    /* words behind a complete rule are ignored */
        const char *uuid;

        /* the current token; text is NUL-terminated */
        TokenType type;
        const char *token, *token_end; /* where it is */
        char *text;
        size_t text_size, text_length;
        bool oom;
} Reader;

/* How each specifier is written; order as in messages. */
static const struct Specifier {
        PolicyField field; /* _POLICY_FIELD_MAX: stubdom */
        Lexis lexis;
        bool repeats; /* all must hold; else the last one counts */
        const char *name; /* what is looked up, for VM texts */
        const char *wanted;
} specifiers[] = {
        { POLICY_DESTINATION, LEXIS_WORD, false, NULL, "a bus name" },
        { POLICY_INTERFACE, LEXIS_WORD, false, NULL, "an interface name" },
        { POLICY_MEMBER, LEXIS_WORD, false, NULL, "a member name" },
        { POLICY_SENDER, LEXIS_WORD, false, NULL, "a bus name" },
        { POLICY_PATH, LEXIS_PATH, false, NULL, "an object path" },
        { POLICY_PROPERTY, LEXIS_WORD, false, NULL, "INTERFACE.PROPERTY" },
        { POLICY_ARG0, LEXIS_TEXT, false, NULL, "a word or a text in double quotes" },
        { POLICY_DOM_UUID, LEXIS_WORD, false, NULL, "a uuid" },
        { POLICY_DOM_ID, LEXIS_WORD, false, NULL, "a decimal number" },
        { POLICY_DOM_TYPE, LEXIS_WORD, true, "type", "a VM type" },
        { POLICY_DOM_NAME, LEXIS_WORD, true, "name", "a VM name" },
        { POLICY_BOOLEAN, LEXIS_WORD, true, NULL, "a VM property and true or false" },
        { _POLICY_FIELD_MAX, LEXIS_WORD, false, NULL, "true or false" },
};

static const char *specifier_word(const struct Specifier *s)
{
        return s->field == _POLICY_FIELD_MAX ? "stubdom" : policy_field_word(s->field);
}

static const struct Specifier *specifier_find(const char *word)
{
        for (size_t i = 0; i < ELEMENTSOF(specifiers); i++)
                if (streq(word, specifier_word(specifiers + i)))
                        return specifiers + i;
        return NULL;
}

static bool is_continuation(char c)
{
        return ((unsigned char) c & 0xc0) == 0x80;
}

static void reader_skip_line(Reader *r)
{
        while (r->p < r->end && *r->p != '\n')
                r->p++;
}

/* Tells one error at a place of the current line, and goes to the end of that line. */
static int _printf_(3, 4) reader_fail(Reader *r, const char *at, const char *fmt, ...)
{
        _cleanup_free_ char *message = NULL;
        unsigned column = 1;
        va_list ap;

        va_start(ap, fmt);
        message = strformatv(fmt, ap);
        va_end(ap);
        if (!message)
                r->oom = true;
        for (const char *s = r->line_start; s < at; s++)
                column += !is_continuation(*s);
        r->failed = true;
        if (message && r->errors && r->errors->on_error)
                r->errors->on_error(r->errors->userdata, &(PolicyError) { .file = r->file,
                                                                          .line = r->line,
                                                                          .column = column,
                                                                          .message = message });
        reader_skip_line(r);
        return r->oom ? -ENOMEM : -EBADMSG;
}

static void token_add(Reader *r, const char *s, size_t n)
{
        if (r->text_length + n + 1 > r->text_size) {
                size_t size = MAX2(r->text_size * 2, r->text_length + n + 64);
                char *t = realloc(r->text, size);

                if (!t) {
                        r->oom = true;
                        return;
                }
                r->text = t;
                r->text_size = size;
        }
        memcpy(r->text + r->text_length, s, n);
        r->text_length += n;
        r->text[r->text_length] = '\0';
}

/* Bytes of the letter or digit at p, in any script; 0: something else. */
static size_t alnum_length(const char *p, const char *end)
{
        static locale_t unicode;
        uint32_t c;
        size_t n;

        if ((unsigned char) *p < 0x80)
                return isalnum((unsigned char) *p) ? 1 : 0;
        for (n = 1; p + n < end && n < 4 && is_continuation(p[n]); n++)
                ;
        if (!utf8_valid(p, n))
                return 0;
        c = (unsigned char) *p & (0xff >> (n + 1));
        for (size_t i = 1; i < n; i++)
                c = c << 6 | ((unsigned char) p[i] & 0x3f);
        if (!unicode)
                unicode = newlocale(LC_CTYPE_MASK, "C.UTF-8", NULL);
        return unicode && iswalnum_l((wint_t) c, unicode) ? n : 0;
}

static int token_bad_character(Reader *r, const char *wanted)
{
        unsigned char c = (unsigned char) *r->p;

        r->type = TOKEN_BAD;
        if (c == '\r')
                return reader_fail(r, r->p, "unexpected carriage return; lines end with a newline alone");
        if (c > 0x20 && c < 0x7f)
                return reader_fail(r, r->p, "unexpected '%c'; expected %s", c, wanted);
        return reader_fail(r, r->p, "unexpected byte 0x%02x; expected %s", c, wanted);
}

static int token_quoted(Reader *r)
{
        const char *start = r->p++;

        for (; r->p < r->end && *r->p != '\n' && *r->p != '"'; r->p++) {
                if (*r->p == '\\') {
                        if (r->p + 1 == r->end || (r->p[1] != '"' && r->p[1] != '\\')) {
                                r->type = TOKEN_BAD;
                                return reader_fail(r, r->p, "expected \\\" or \\\\ behind a backslash in a text");
                        }
                        r->p++;
                } else if (*r->p == '\0')
                        return token_bad_character(r, "the text's closing '\"'");
                token_add(r, r->p, 1);
        }
        if (r->p == r->end || *r->p != '"') {
                r->type = TOKEN_BAD;
                return reader_fail(r, start, "text without its closing '\"' on the same line");
        }
        if (!utf8_valid(r->text ? r->text : "", r->text_length)) {
                r->type = TOKEN_BAD;
                return reader_fail(r, start, "text is not valid UTF-8");
        }
        r->p++;
        return 0;
}

/* Reads the next token. wanted is for the message where a character fits nothing. */
static int token_next(Reader *r, Lexis lexis, const char *wanted)
{
        size_t n;

        while (r->p < r->end && (*r->p == ' ' || *r->p == '\t'))
                r->p++;
        r->token = r->p;
        r->text_length = 0;
        token_add(r, "", 0);
        if (r->oom)
                return -ENOMEM;
        if (r->p < r->end && *r->p == '#') {
                reader_skip_line(r);
                if (r->p == r->end) {
                        r->type = TOKEN_BAD;
                        return reader_fail(r, r->token, "comment without a line end; expected a newline behind it");
                }
        }
        if (r->p == r->end || *r->p == '\n') {
                r->type = r->p == r->end ? TOKEN_END : TOKEN_EOL;
                r->token_end = r->token;
                return 0;
        }
        r->type = TOKEN_WORD;
        if (lexis == LEXIS_TEXT && *r->p == '"') {
                if (token_quoted(r) < 0)
                        return r->oom ? -ENOMEM : -EBADMSG;
        } else if (lexis == LEXIS_PATH && *r->p == '/') {
                while (r->p < r->end && (*r->p == '/' || *r->p == '_' || ((unsigned char) *r->p < 0x80 && isalnum((unsigned char) *r->p))))
                        r->p++;
                token_add(r, r->token, (size_t) (r->p - r->token));
        } else {
                if (alnum_length(r->p, r->end) == 0)
                        return token_bad_character(r, wanted);
                while (r->p < r->end) {
                        n = strchr("_.-", *r->p) && *r->p ? 1 : alnum_length(r->p, r->end);
                        if (n == 0)
                                break;
                        token_add(r, r->p, n);
                        r->p += n;
                }
        }
        r->token_end = r->p;
        return r->oom ? -ENOMEM : 0;
}

static int reader_expected(Reader *r, const char *what, const char *behind)
{
        if (r->type == TOKEN_WORD)
                return reader_fail(r, r->token, "expected %s behind '%s', found '%s'", what, behind, r->text);
        return reader_fail(r, r->token, "expected %s behind '%s', found the end of the line", what, behind);
}

static int read_bool(Reader *r, const char *behind, bool *ret)
{
        int k = token_next(r, LEXIS_WORD, "true or false");

        if (k < 0)
                return k;
        if (r->type != TOKEN_WORD || (!streq(r->text, "true") && !streq(r->text, "false")))
                return reader_expected(r, "true or false", behind);
        *ret = streq(r->text, "true");
        return 0;
}

static int read_value(Reader *r, const struct Specifier *s, PolicyCondition *ret)
{
        const char *word = specifier_word(s), *dot, *digits;
        int k = token_next(r, s->lexis, s->wanted);

        if (k < 0)
                return k;
        if (r->type != TOKEN_WORD || (s->lexis == LEXIS_PATH && r->text[0] != '/'))
                return reader_expected(r, s->wanted, word);
        *ret = (PolicyCondition) { .field = s->field, .name = s->name };
        switch (s->field) {
        case POLICY_PROPERTY:
                dot = strrchr(r->text, '.');
                if (!dot || dot == r->text || !dot[1])
                        return reader_expected(r, s->wanted, word);
                ret->name = policy_strndup(r->policy, r->text, (size_t) (dot - r->text));
                ret->value = policy_strndup(r->policy, dot + 1, strlen(dot + 1));
                break;
        case POLICY_DOM_ID: {
                int64_t n;

                digits = r->text;
                if (parse_i64(digits, &n) < 0 || digits[0] == '-')
                        return reader_expected(r, s->wanted, word);
                while (digits[0] == '0' && digits[1])
                        digits++;
                ret->value = policy_strndup(r->policy, digits, strlen(digits));
                break;
        }
        case POLICY_BOOLEAN: {
                bool b;

                ret->name = policy_strndup(r->policy, r->text, r->text_length);
                if (!ret->name)
                        return -ENOMEM;
                k = read_bool(r, ret->name, &b);
                if (k < 0)
                        return k;
                ret->value = b ? "true" : "false";
                break;
        }
        default:
                ret->value = policy_strndup(r->policy, r->text, r->text_length);
        }
        return ret->value && (s->field != POLICY_PROPERTY || ret->name) ? 0 : -ENOMEM;
}

/* Adds a condition; one that says what another says already is left out. */
static int conditions_put(PolicyCondition **list, unsigned *n, const struct Specifier *s, const PolicyCondition *c)
{
        PolicyCondition *l;

        for (unsigned i = 0; i < *n; i++)
                if ((*list)[i].field == c->field) {
                        if (!s->repeats) {
                                (*list)[i] = *c;
                                return 0;
                        }
                        if (streq_ptr((*list)[i].name, c->name) && streq((*list)[i].value, c->value))
                                return 0;
                }
        l = reallocarray(*list, *n + 1, sizeof(*l));
        if (!l)
                return -ENOMEM;
        l[(*n)++] = *c;
        *list = l;
        return 0;
}

static const char *accepted_words(void)
{
        static char words[512];

        if (!words[0]) {
                size_t n = 0;

                for (size_t i = 0; i < ELEMENTSOF(specifiers); i++)
                        n += (size_t) snprintf(words + n, sizeof(words) - n, "%s%s", i ? ", " : "",
                                               specifier_word(specifiers + i));
        }
        return words;
}

/*
 * Reads the specifiers of a rule up to what ends it. The last token read is that end. ret_end: where
 * the last word of the rule ends.
 */
static int read_specifiers(Reader *r, PolicyRule *rule, bool subject_possible, PolicyCondition **list,
                           const char **ret_end)
{
        const struct Specifier *s;
        PolicyCondition c;
        bool first = true;
        int k;

        for (;; first = false, subject_possible = false) {
                k = token_next(r, LEXIS_WORD, "a specifier or the end of the line");
                if (k < 0 || r->type != TOKEN_WORD)
                        return k;
                if (subject_possible && policy_subject_parse(r->text, &rule->direction, &rule->type) == 0) {
                        *ret_end = r->token_end;
                        return read_specifiers(r, rule, false, list, ret_end);
                }
                if (first && streq(r->text, "all")) {
                        *ret_end = r->token_end;
                        k = token_next(r, LEXIS_WORD, "the end of the line behind 'all'");
                        if (k < 0 || r->type != TOKEN_WORD || r->lax)
                                return k;
                        return reader_fail(r, r->token, "expected the end of the line behind 'all', found '%s'", r->text);
                }
                s = specifier_find(r->text);
                if (!s && r->lax)
                        return 0;
                if (!s)
                        return reader_fail(r, r->token, "unknown word '%s'; expected %s%s%s or the end of the line",
                                           r->text,
                                           subject_possible ? "a subject (inc- or out- with method-call, method-return, "
                                                              "signal, error or any), "
                                                            : "",
                                           first ? "all, " : "", accepted_words());
                if (s->field == _POLICY_FIELD_MAX)
                        k = read_bool(r, "stubdom", &rule->stubdom);
                else {
                        k = read_value(r, s, &c);
                        if (k == 0 && rule->n_conditions >= POLICY_CONDITIONS_MAX - 1) /* one is kept for a VM's uuid */
                                return reader_fail(r, r->token, "more than %d conditions in one rule",
                                                   POLICY_CONDITIONS_MAX - 1);
                        if (k == 0)
                                k = conditions_put(list, &rule->n_conditions, s, &c);
                }
                if (k < 0)
                        return k;
                *ret_end = r->token_end;
        }
}

/* Reads a rule whose first word is the current token. */
static int read_rule(Reader *r)
{
        _cleanup_free_ PolicyCondition *list = NULL;
        const struct Specifier uuid_specifier = { .field = POLICY_DOM_UUID };
        const char *start = r->token, *end = r->token_end;
        PolicyCondition *conditions;
        PolicyRule *rule;
        int k;

        if (!streq(r->text, "allow") && !streq(r->text, "deny"))
                return reader_fail(r, r->token, "unknown word '%s'; expected allow or deny", r->text);
        rule = policy_add_rule(r->policy);
        if (!rule)
                return -ENOMEM;
        *rule = (PolicyRule) { .allow = streq(r->text, "allow"), .line = r->line, .file = r->file };
        k = read_specifiers(r, rule, true, &list, &end);
        if (k < 0)
                return k;
        if (r->uuid) {
                k = conditions_put(&list, &rule->n_conditions, &uuid_specifier,
                                   &(PolicyCondition) { .field = POLICY_DOM_UUID, .value = r->uuid });
                if (k < 0)
                        return k;
        }
        conditions = policy_alloc(r->policy, rule->n_conditions * sizeof(*conditions));
        rule->text = policy_strndup(r->policy, start, (size_t) (end - start));
        if (!conditions || !rule->text)
                return -ENOMEM;
        if (rule->n_conditions > 0)
                memcpy(conditions, list, rule->n_conditions * sizeof(*conditions));
        rule->conditions = conditions;
        r->policy->n_rules++;
        return 0;
}

/* Reads a whole file, or in lax or single form one rule. */
static int reader_run(Reader *r, bool single)
{
        unsigned n = 0;
        int k;

        for (r->line = 1, r->line_start = r->p;; r->line++) {
                k = token_next(r, LEXIS_WORD, "allow, deny, a comment or an empty line");
                if (k == 0 && r->type == TOKEN_WORD) {
                        n++;
                        k = single && n > 1 ? reader_fail(r, r->token, "expected one rule") : read_rule(r);
                } else if (k == 0 && single && n == 0 && r->type == TOKEN_END)
                        k = reader_fail(r, r->token, "expected allow or deny");
                if (k == -ENOMEM)
                        return k;
                if (r->lax && n > 0)
                        break;
                if (r->p == r->end)
                        break;
                r->line_start = ++r->p; /* behind the newline */
        }
        return r->failed ? -EBADMSG : 0;
}

static int read_text(Policy *p, const char *text, size_t size, const char *file, const char *uuid, bool single,
                     const PolicyErrors *errors)
{
        Reader r = { .policy = p, .p = text, .end = text + size, .errors = errors, .uuid = uuid, .lax = uuid };
        int k;

        r.file = policy_strndup(p, file, strlen(file));
        k = r.file ? reader_run(&r, single) : -ENOMEM;
        free(r.text);
        return k;
}

/* Makes the index and hands the policy over. */
static int policy_finish(Policy **p, Policy **ret)
{
        int r = policy_index_new((*p)->rules, (*p)->n_rules, &(*p)->index);

        if (r < 0)
                return r;
        *ret = TAKE_PTR(*p);
        return 0;
}

static int parse_behind(Policy *base, const char *text, size_t size, const char *file, const PolicyErrors *errors,
                        Policy **ret)
{
        _cleanup_policy_ Policy *p = policy_new(base);
        int r;

        if (!p)
                return -ENOMEM;
        r = read_text(p, text, size, file, NULL, false, errors);
        return r < 0 ? r : policy_finish(&p, ret);
}

int policy_parse(const char *text, size_t size, const char *file, const PolicyErrors *errors, Policy **ret)
{
        return parse_behind(NULL, text, size, file, errors, ret);
}

int policy_load_behind(Policy *base, const char *path, const PolicyErrors *errors, Policy **ret)
{
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r = read_file(path, POLICY_FILE_MAX, &text, &size);

        return r < 0 ? r : parse_behind(base, text, size, path, errors, ret);
}

int policy_load_file(const char *path, const PolicyErrors *errors, Policy **ret)
{
        return policy_load_behind(NULL, path, errors, ret);
}

int policy_extend(Policy *base, const char *uuid, const PolicyText *texts, size_t n, const PolicyErrors *errors,
                  Policy **ret)
{
        _cleanup_policy_ Policy *p = policy_new(base);
        const char *own_uuid = NULL;
        int r, result = 0;

        if (!p)
                return -ENOMEM;
        if (uuid) {
                own_uuid = policy_strndup(p, uuid, strlen(uuid));
                if (!own_uuid)
                        return -ENOMEM;
        }
        for (size_t i = 0; i < n; i++) {
                r = read_text(p, texts[i].text, strlen(texts[i].text), texts[i].file, own_uuid, true, errors);
                if (r == -ENOMEM)
                        return r;
                if (r < 0)
                        result = r;
        }
        return result < 0 ? result : policy_finish(&p, ret);
}
