/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sasl.h"

static void fail(Sasl *s, const char *why)
{
        s->state = SASL_FAILED;
        s->why = why;
}

/* The rest behind a command word, or NULL if line is not that command. */
static const char *command(const char *line, const char *word)
{
        const char *rest = startswith(line, word);

        return rest && (*rest == ' ' || !*rest) ? rest + (*rest == ' ') : NULL;
}

static void accept_client(Sasl *s, const char *guid, const char *uuid, char *reply)
{
        s->state = SASL_ACCEPTED;
        snprintf(reply, SASL_REPLY_MAX, "%s%s%sOK %s\r\n", uuid ? "DATA " : "", strempty(uuid), uuid ? "\r\n" : "", guid);
}

static void line_handle(Sasl *s, const char *line, const char *guid, const char *uuid, char *reply)
{
        const char *mechanism = command(line, "AUTH"), *response;

        if (s->state == SASL_ACCEPTED) {
                if (streq(line, "BEGIN"))
                        s->state = SASL_DONE;
                else if (command(line, "CANCEL") || command(line, "ERROR")) {
                        s->state = SASL_AUTH;
                        strcpy(reply, "REJECTED ANONYMOUS\r\n");
                } else /* NEGOTIATE_UNIX_FD among them: no descriptor ever passes */
                        strcpy(reply, "ERROR\r\n");
                return;
        }
        if (s->state == SASL_DATA && command(line, "DATA")) {
                accept_client(s, guid, uuid, reply);
                return;
        }
        s->state = SASL_AUTH;
        response = mechanism ? command(mechanism, "EXTERNAL") : NULL;
        if (response && !*response) {
                s->state = SASL_DATA;
                strcpy(reply, "DATA\r\n");
        } else if (response || (mechanism && command(mechanism, "ANONYMOUS")))
                accept_client(s, guid, uuid, reply);
        else
                strcpy(reply, "REJECTED ANONYMOUS\r\n");
}

size_t sasl_input(Sasl *s, const void *untrusted_data, size_t size, const char *guid, const char *uuid,
                  char reply[static SASL_REPLY_MAX])
{
        const char *d = untrusted_data;
        size_t i = 0;

        reply[0] = '\0';
        if (size > 0 && s->state == SASL_NUL) {
                if (d[i++] != 0)
                        fail(s, "the first byte is not NUL");
                else
                        s->state = SASL_AUTH;
        }
        for (; i < size && s->state < SASL_DONE; i++) {
                unsigned char c = (unsigned char) d[i];

                if (c == '\n' && s->used > 0 && s->line[s->used - 1] == '\r') {
                        s->line[s->used - 1] = '\0';
                        s->used = 0;
                        if (++s->n_lines > SASL_LINES_MAX)
                                fail(s, "too many lines before authentication ended");
                        else
                                line_handle(s, s->line, guid, uuid, reply);
                        return i + 1;
                }
                if (c == 0 || c >= 0x80)
                        fail(s, "a line of the authentication is not ASCII");
                else if (s->used + 1 >= sizeof s->line)
                        fail(s, "a line of the authentication is too long");
                else
                        s->line[s->used++] = (char) c;
        }
        return i;
}
