/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proxy-limits.h"

#include "settings.h"

void limits_load(Limits *ret)
{
        *ret = (Limits) {
                .connections = setting_int(SETTING_PROXY_CONNECTIONS),
                .message_size = setting_int(SETTING_PROXY_MESSAGE_SIZE),
                .queued = setting_int(SETTING_PROXY_QUEUED),
                .window = setting_int(SETTING_PROXY_WINDOW),
                .pending = setting_int(SETTING_PROXY_PENDING),
                .matches = setting_int(SETTING_PROXY_MATCHES),
                .patience = setting_int(SETTING_PROXY_PATIENCE),
                .auth_timeout = setting_int(SETTING_PROXY_AUTH_TIMEOUT),
                .denials = setting_int(SETTING_PROXY_DENIALS),
        };
}
