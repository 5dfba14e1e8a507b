/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* xenvm-cmd: one command to the monitor of one VM, over D-Bus or its unix socket. */
#include <arpa/inet.h>
#include <poll.h>
#include <unistd.h>

#include "daemon.h"
#include "fs.h"
#include "json.h"
#include "parse.h"
#include "strbuf.h"
#include "xenvm-commands.h"

#define REPLY_MAX (4 * MIB)

static const char *arg_state_dir, *arg_runtime_dir, *arg_bus;
static bool arg_socket;
static int64_t arg_timeout = 60;

static const Option options[] = {
        { "use-socket", 0, NULL, OPTION_FLAG, &arg_socket, "Use the monitor's unix socket, not D-Bus", NULL },
        { "reply-timeout", 0, "SECONDS", OPTION_INT, &arg_timeout, "How long to wait for the answer (default: 60)", NULL },
        { "state-dir", 0, "DIR", OPTION_STRING, &arg_state_dir, "Where lasting data is kept", NULL },
        { "runtime-dir", 0, "DIR", OPTION_STRING, &arg_runtime_dir, "Where sockets and runtime files are", NULL },
        { "bus", 0, "BUS", OPTION_STRING, &arg_bus, "Which bus the stack uses", "private system" },
        { 0 }
};

static const Program program = {
        .name = "xenvm-cmd",
        .synopsis = "[OPTIONS] UUID COMMAND [NAME=VALUE…]",
        .summary = "Sends a command to the monitor of a VM.",
        .options = options,
        .footer = "`xenvm-cmd UUID help` lists the commands.",
};

static int fail(const char *text)
{
        fprintf(stderr, "error: %s\n", text);
        return 1;
}

static int fail_timeout(void)
{
        fprintf(stderr, "timeout\n");
        return 1;
}

static int show(const char *text)
{
        if (text && *text)
                printf("%s\n", text);
        return 0;
}

/* Returns the exit status, or -ENOTCONN: there is no bus. */
static int over_bus(const Paths *paths, const char *uuid, const char *command, char *const *arguments)
{
        const char *session = getenv("XENVMLIB_DBUS_SESSION");
        _cleanup_free_ char *address = NULL, *name = NULL;
        sd_bus_message *call = NULL, *reply = NULL;
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus *bus = NULL;
        char element[37], member[64];
        const char *text = NULL;
        int r, status;

        address = session && streq(session, "true") ? strdup(strempty(getenv("DBUS_SESSION_BUS_ADDRESS"))) : bus_address(paths);
        name = strformat("org.xen.vm.uuid_%s", uuid_to_path(uuid, element));
        if (!address || !name)
                return fail("out of memory");
        if (bus_open(address, &bus) < 0)
                return -ENOTCONN;
        snprintf(member, sizeof member, "%s", command);
        for (char *p = member; *p; p++)
                if (*p == '-')
                        *p = '_';
        r = sd_bus_message_new_method_call(bus, &call, name, "/", name, member);
        if (r >= 0)
                r = sd_bus_message_open_container(call, 'a', "{ss}");
        for (; r >= 0 && arguments && *arguments; arguments++) {
                _cleanup_free_ char *pair = strdup(*arguments);
                char *value = pair ? strchr(pair, '=') : NULL;

                if (!value)
                        r = -ENOMEM;
                else {
                        *value++ = '\0';
                        r = sd_bus_message_append(call, "{ss}", pair, value);
                }
        }
        if (r >= 0)
                r = sd_bus_message_close_container(call);
        if (r >= 0)
                r = sd_bus_call(bus, call, (uint64_t) arg_timeout * USEC_PER_SEC, &error, &reply);
        if (r >= 0) {
                if (sd_bus_message_get_signature(reply, true)[0] == 's')
                        (void) sd_bus_message_read(reply, "s", &text);
                status = show(text);
        } else if (!sd_bus_error_is_set(&error) && (r == -ECONNREFUSED || r == -ENOENT || r == -ENOTCONN))
                status = -ENOTCONN;
        else if (r == -ETIMEDOUT || sd_bus_error_has_name(&error, SD_BUS_ERROR_NO_REPLY))
                status = fail_timeout();
        else if (sd_bus_error_has_name(&error, SD_BUS_ERROR_SERVICE_UNKNOWN))
                status = fail("there is no monitor for this VM");
        else if (sd_bus_error_has_name(&error, SD_BUS_ERROR_UNKNOWN_METHOD))
                status = fail("unknown RPC");
        else
                status = fail(error.message ? error.message : strerror(-r));
        sd_bus_error_free(&error);
        sd_bus_message_unref(call);
        sd_bus_message_unref(reply);
        sd_bus_close_unref(bus);
        return status;
}

static int exchange(int fd, const char *request, StrBuf *reply)
{
        uint64_t end = now_usec() + (uint64_t) arg_timeout * USEC_PER_SEC;
        uint32_t size = htonl((uint32_t) strlen(request));
        _cleanup_free_ char *message = malloc(4 + strlen(request));
        size_t total = 4 + strlen(request), sent = 0;
        char chunk[4096];

        if (!message)
                return -ENOMEM;
        memcpy(message, &size, 4);
        memcpy(message + 4, request, strlen(request));
        for (;;) {
                struct pollfd p = { .fd = fd, .events = sent < total ? POLLOUT : POLLIN };
                uint64_t now = now_usec();
                ssize_t n;

                if (now >= end || poll(&p, 1, (int) ((end - now) / USEC_PER_MSEC + 1)) <= 0)
                        return -ETIMEDOUT;
                n = sent < total ? write(fd, message + sent, total - sent) : read(fd, chunk, sizeof chunk);
                if (n < 0 && (errno == EAGAIN || errno == EINTR))
                        continue;
                if (n < 0)
                        return -errno;
                if (sent < total)
                        sent += (size_t) n;
                else if (n == 0)
                        return 0;
                else if (reply->len + (size_t) n > REPLY_MAX)
                        return -EFBIG;
                else
                        strbuf_addn(reply, chunk, (size_t) n);
        }
}

static int over_socket(const Paths *paths, const char *uuid, const char *command, char *const *arguments)
{
        const char *dir = getenv("XENVM_SOCKET_DIR");
        _cleanup_json_ json_object *o = json_object_new_object(), *answer = NULL;
        _cleanup_strbuf_ StrBuf reply = STRBUF_INIT;
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ char *path = NULL;
        json_object *params = json_object_new_object(), *error;
        int r;

        path = dir && *dir ? strformat("%s/vm-%s", dir, uuid) : paths_format(paths, PATH_XENVM_SOCKETS, "vm-%s", uuid);
        if (!path || !o || !params)
                return fail("out of memory");
        json_object_object_add(o, "jsonrpc", json_object_new_string("2.0"));
        json_object_object_add(o, "method", json_object_new_string(command));
        json_object_object_add(o, "params", params);
        json_object_object_add(o, "id", json_object_new_int(1));
        for (; arguments && *arguments; arguments++) {
                const char *value = strchr(*arguments, '=');
                _cleanup_free_ char *name = strndup(*arguments, (size_t) (value - *arguments));

                if (name)
                        json_object_object_add(params, name, json_object_new_string(value + 1));
        }
        fd = unix_connect(path);
        if (fd < 0)
                return fail("there is no monitor for this VM at its socket");
        r = exchange(fd, json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN), &reply);
        if (r == -ETIMEDOUT)
                return fail_timeout();
        if (r < 0 || !reply.data || json_parse(reply.data, reply.len, 16, &answer) < 0 ||
            !json_object_is_type(answer, json_type_object))
                return fail("the monitor gave no answer");
        error = json_get_member(answer, "error", json_type_object);
        return error ? fail(json_get_text(error, "message", "")) : show(json_get_text(answer, "result", NULL));
}

int main(int argc, char *argv[])
{
        _cleanup_strv_ char **arguments = NULL;
        _cleanup_free_ char *why = NULL;
        const char *uuid, *command;
        XenvmCommand c;
        Paths paths;
        int first, status, r;

        first = options_parse(&program, argc, argv, 1, &status);
        if (first < 0)
                return status;
        if (argc - first < 2) {
                fprintf(stderr, "usage: xenvm-cmd %s\n", program.synopsis);
                return 1;
        }
        uuid = argv[first];
        command = argv[first + 1];
        if (!uuid_valid(uuid))
                return fail("this is not a UUID");
        c = xenvm_command_find(command, NULL);
        if (c == _XENVM_CMD_MAX) /* the monitor may know more than we do */
                for (char **w = argv + first + 2; *w; w++) {
                        if (!strchr(*w, '='))
                                return fail("arguments are written name=value");
                        r = strv_extend(&arguments, *w);
                        if (r < 0)
                                return fail(strerror(-r));
                }
        else {
                r = xenvm_command_words(c, argv + first + 2, &arguments, &why);
                if (r < 0)
                        return fail(why ? why : strerror(-r));
        }
        if (paths_init(&paths, arg_state_dir, arg_runtime_dir, arg_bus) < 0)
                return 1;
        status = arg_socket ? -ENOTCONN : over_bus(&paths, uuid, command, arguments);
        if (status == -ENOTCONN)
                status = over_socket(&paths, uuid, command, arguments);
        paths_done(&paths);
        return status;
}
