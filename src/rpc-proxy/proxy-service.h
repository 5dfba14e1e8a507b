/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* The proxy on the bus: com.citrix.xenclient.rpc_proxy of the contract and org.oxt.RpcProxy1, at "/". */
#include "proxy.h"

extern const ServiceSpec proxy_service;
