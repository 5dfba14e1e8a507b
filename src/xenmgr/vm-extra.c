/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vm-extra.h"

#include <ctype.h>
#include <math.h>

#include "argo-rule.h"
#include "log.h"
#include "ovf.h"
#include "parse.h"
#include "pci.h"
#include "strbuf.h"

/* Inter-domain firewall: a list of rules */

/* A list is written anew as a whole. */
static int write_list(Vm *vm, const char *path, char *const *l, Call *c)
{
        char full[VM_PATH_MAX];
        DbTx *tx = vm_tx_new(vm, "");
        size_t n = 0;

        (void) db_tx_rm(tx, vm_db_path(vm, full, "%s", path));
        for (; l && *l; l++)
                (void) db_tx_write(tx, vm_db_path(vm, full, "%s/%zu", path, n++), *l);
        return vm_commit(vm, tx, c);
}

int method_list_argo_rules(Call *c)
{
        _cleanup_strv_ char **l = NULL;
        int r = vm_list(c->object, "argo-firewall-rules", &l);

        return r < 0 ? r : call_reply_strv(c, 's', l);
}

static int change_argo_rule(Call *c, bool add)
{
        _cleanup_strv_ char **l = NULL, **kept = NULL;
        _cleanup_free_ char *canonical = NULL;
        const char *rule;
        bool found = false;
        int r;

        if (refuse_guest_but_synchroniser(c, "A firewall rule"))
                return 0;
        r = sd_bus_message_read(c->message, "s", &rule);
        if (r < 0)
                return r;
        r = argo_rule_canonical(rule, &canonical);
        if (r == -EINVAL)
                return call_fail_code(c, ERROR_FIREWALL_RULE, rule);
        if (r >= 0)
                r = vm_list(c->object, "argo-firewall-rules", &l);
        for (char **i = l; r >= 0 && i && *i; i++) {
                _cleanup_free_ char *other = NULL;
                bool same = argo_rule_canonical(*i, &other) >= 0 && streq(other, canonical);

                found = found || same;
                if (!same || add)
                        r = strv_extend(&kept, *i);
        }
        if (r < 0)
                return r;
        if (found == add)
                return 1;
        if (add)
                r = strv_extend(&kept, canonical);
        return r < 0 ? r : write_list(c->object, "argo-firewall-rules", kept, c);
}

int method_add_argo_rule(Call *c)
{
        return change_argo_rule(c, true);
}

int method_delete_argo_rule(Call *c)
{
        return change_argo_rule(c, false);
}

/* Network firewall: records by number */

int fill_net_rules(Call *c, sd_bus_message *reply)
{
        const DbNode *all = vm_find(c->object, "firewall-rule");
        int r = 0;

        for (const DbNode *n = dbnode_first(all); r >= 0 && n; n = dbnode_next(n))
                r = reply_add_row(reply, "id", dbnode_name(n), "direction", dbnode_text(n, "direction"), "remote-ip",
                                  dbnode_text(n, "remote-ip"), "extra", dbnode_text(n, "extra"), NULL);
        return r;
}

int method_add_net_rule(Call *c)
{
        const char *direction, *ip, *extra;
        char path[VM_PATH_MAX];
        Vm *vm = c->object;
        int32_t id;
        DbTx *tx;
        int r;

        if (vm_refuse_by_policy(vm, c) || refuse_guest(c, "A firewall rule"))
                return 0;
        r = sd_bus_message_read(c->message, "isss", &id, &direction, &ip, &extra);
        if (r < 0)
                return r;
        if (!streq(direction, "in") && !streq(direction, "out"))
                return call_fail(c, DBUS_ERROR_FAILED, "The direction of a rule is in or out, not '%.32s'", direction);
        tx = vm_tx_new(vm, "");
        (void) db_tx_write(tx, vm_db_path(vm, path, "firewall-rule/%d/direction", id), direction);
        (void) db_tx_write(tx, vm_db_path(vm, path, "firewall-rule/%d/remote-ip", id), ip);
        (void) db_tx_write(tx, vm_db_path(vm, path, "firewall-rule/%d/extra", id), extra);
        log_warning("%s: the network firewall rule %d is stored for others: nothing of oxt enforces it", vm->uuid, id);
        return vm_commit(vm, tx, c);
}

int method_delete_net_rule(Call *c)
{
        char path[VM_PATH_MAX];
        Vm *vm = c->object;
        int32_t id;
        DbTx *tx;
        int r;

        if (vm_refuse_by_policy(vm, c) || refuse_guest(c, "A firewall rule"))
                return 0;
        r = sd_bus_message_read(c->message, "i", &id);
        if (r < 0)
                return r;
        tx = vm_tx_new(vm, "");
        (void) db_tx_rm(tx, vm_db_path(vm, path, "firewall-rule/%d", id));
        return vm_commit(vm, tx, c);
}

/* .vm.auth */

static int method_auth_required(Call *c)
{
        return call_reply(c, "b", vm_vault_closed(c->object));
}

#define AUTH_FLAGS (1 << 19 | 1 << 23) /* remote user, hash */

static int method_auth(Call *c)
{
        Vm *vm = c->object;
        const char *user = vm_text(vm, "crypto-user", "");

        if (*user)
                tell_input_daemon(vm->manager, "auth_set_context_flags", "ssi", user, "", (int32_t) AUTH_FLAGS);
        return 1;
}

static const BusMethod auth_methods[] = {
        { "auth", "", "", "", "", method_auth, NULL },
        { "auth_required", "", "", "b", "required", method_auth_required, NULL },
        { 0 }
};
const BusInterface vm_interface_auth = { .name = XENMGR_INTERFACE ".vm.auth", .methods = auth_methods };

/* .vm.pci */

/* "" and "any": no match on that part. */
static bool read_part(const char *s, int64_t *ret)
{
        if (!*s || streq(s, "any")) {
                *ret = -1;
                return true;
        }
        return schema_parse_int(s, ret) >= 0 && *ret >= 0 && *ret <= 0xffff;
}

static int read_rule(Call *c, PciRule *ret)
{
        const char *class, *vendor, *device;
        int r;

        *ret = (PciRule) { .slot = -1 };
        r = sd_bus_message_read(c->message, "sss", &class, &vendor, &device);
        if (r < 0)
                return r;
        if (read_part(class, &ret->class) && read_part(vendor, &ret->vendor) && read_part(device, &ret->device))
                return 1;
        return call_fail(c, DBUS_ERROR_FAILED,
                         "class, vendor and device are numbers of 16 bits, decimal or 0x, or 'any'");
}

static int read_bdf(Call *c, PciRule *ret)
{
        const char *text;
        int r;

        *ret = (PciRule) { .slot = -1, .class = -1, .vendor = -1, .device = -1 };
        r = sd_bus_message_read(c->message, "s", &text);
        if (r < 0)
                return r;
        if (pci_address_parse(text, ret->address, &ret->slot) >= 0)
                return 1;
        return call_fail(c, DBUS_ERROR_FAILED, "'%.32s' is not a PCI address of the form dddd:bb:ss.f[@slot]", text);
}

static int add_rule(Call *c, const PciRule *rule)
{
        Vm *vm = c->object;
        unsigned ids[PCI_RULES_MAX], id;
        size_t n = vm_record_ids(vm, "pci", ids, PCI_RULES_MAX);
        const struct {
                const char *leaf;
                int64_t value;
        } parts[] = { { "class", rule->class }, { "vendor", rule->vendor }, { "device", rule->device } };
        char path[VM_PATH_MAX], text[64];
        DbTx *tx;

        if (n >= PCI_RULES_MAX)
                return call_fail(c, DBUS_ERROR_FAILED, "A VM has at most %d PCI rules", PCI_RULES_MAX);
        id = n ? ids[n - 1] + 1 : 1;
        tx = vm_tx_new(vm, "");
        (void) db_tx_require(tx, "absent", vm_db_path(vm, path, "config/pci/%u", id), "");
        if (*rule->address) {
                if (rule->slot >= 0)
                        snprintf(text, sizeof text, "%s@%llx", rule->address, (unsigned long long) rule->slot);
                else
                        snprintf(text, sizeof text, "%s", rule->address);
                (void) db_tx_write(tx, vm_db_path(vm, path, "config/pci/%u/bdf", id), text);
        }
        for (size_t i = 0; i < ELEMENTSOF(parts); i++)
                if (parts[i].value >= 0) {
                        snprintf(text, sizeof text, "0x%04x", (unsigned) parts[i].value);
                        (void) db_tx_write(tx, vm_db_path(vm, path, "config/pci/%u/%s", id, parts[i].leaf), text);
                }
        return vm_commit(vm, tx, c);
}

/* All rules that equal it go. */
static int delete_rule(Call *c, const PciRule *rule)
{
        Vm *vm = c->object;
        PciRule rules[PCI_RULES_MAX];
        unsigned ids[PCI_RULES_MAX];
        size_t n = pci_rules_of_vm(vm, rules, ids, PCI_RULES_MAX), found = 0;
        char path[VM_PATH_MAX];
        DbTx *tx = vm_tx_new(vm, "");

        for (size_t i = 0; i < n; i++) {
                const PciRule *o = &rules[i];

                if (!streq(o->address, rule->address) || o->slot != rule->slot || o->class != rule->class ||
                    o->vendor != rule->vendor || o->device != rule->device)
                        continue;
                found++;
                (void) db_tx_rm(tx, vm_db_path(vm, path, "config/pci/%u", ids[i]));
        }
        if (found)
                return vm_commit(vm, tx, c);
        db_tx_free(tx);
        return 1;
}

static int method_change_rule(Call *c)
{
        const char *what = c->method->name;
        PciRule rule;
        int r;

        if (refuse_guest_but_ui(c, "PCI passthrough"))
                return 0;
        r = endswith(what, "_bdf") ? read_bdf(c, &rule) : read_rule(c, &rule);
        if (r <= 0)
                return r;
        return startswith(what, "add_") ? add_rule(c, &rule) : delete_rule(c, &rule);
}

static int fill_list_rules(Call *c, sd_bus_message *reply)
{
        Vm *vm = c->object;
        PciRule rules[PCI_RULES_MAX];
        unsigned ids[PCI_RULES_MAX];
        size_t n = pci_rules_of_vm(vm, rules, ids, PCI_RULES_MAX);
        int r = 0;

        for (size_t i = 0; r >= 0 && i < n; i++) {
                _cleanup_free_ char *text = pci_rule_text(&rules[i]);
                char id[16];

                snprintf(id, sizeof id, "%u", ids[i]);
                r = text ? reply_add_row(reply, "id", id, "rule", text, NULL) : -ENOMEM;
        }
        return r;
}

static int fill_list_pci_devices(Call *c, sd_bus_message *reply)
{
        _cleanup_strv_ char **addresses = NULL;
        int r = 0;

        if (pci_devices_of_vm(c->object, &addresses) == -ENODEV)
                return call_fail(c, DBUS_ERROR_FAILED, "A rule names a device that does not exist");
        for (char **a = addresses; r >= 0 && a && *a; a++)
                r = pci_append_row(reply, pci_find(*a));
        return r;
}

static const BusMethod pci_methods[] = {
        { "add_pt_rule", "sss", "pciclass vendor_id device_id", "", "", method_change_rule, NULL },
        { "add_pt_rule_bdf", "s", "bdf", "", "", method_change_rule, NULL },
        { "delete_pt_rule", "sss", "pciclass vendor_id device_id", "", "", method_change_rule, NULL },
        { "delete_pt_rule_bdf", "s", "bdf", "", "", method_change_rule, NULL },
        { "list_pt_pci_devices", "", "", "aa{ss}", "", NULL, NULL, .fill = fill_list_pci_devices },
        { "list_pt_rules", "", "", "aa{ss}", "", NULL, NULL, .fill = fill_list_rules },
        { 0 }
};
const BusInterface vm_interface_pci = { .name = XENMGR_INTERFACE ".vm.pci", .methods = pci_methods };

/* .vm.product: properties of an OVF appliance */

static const DbNode *find_product(Vm *vm, const char *id)
{
        const DbNode *all = vm_find(vm, "productproperty");

        for (const DbNode *n = dbnode_first(all); n; n = dbnode_next(n))
                if (streq(dbnode_name(n), id) && *dbnode_text(n, "key"))
                        return n;
        return NULL;
}

static bool product_value_ok(const char *type, const char *value)
{
        static const struct {
                const char *type;
                int64_t min, max;
        } ints[] = {
                { "uint8", 0, UINT8_MAX },          { "sint8", INT8_MIN, INT8_MAX }, { "uint16", 0, UINT16_MAX },
                { "sint16", INT16_MIN, INT16_MAX }, { "uint32", 0, UINT32_MAX },     { "sint32", INT32_MIN, INT32_MAX },
                { "sint64", INT64_MIN, INT64_MAX },
        };
        int64_t i;
        uint64_t u;
        char *end;
        double d;

        for (size_t k = 0; k < ELEMENTSOF(ints); k++)
                if (streq(type, ints[k].type))
                        return parse_i64(value, &i) >= 0 && i >= ints[k].min && i <= ints[k].max;
        if (streq(type, "uint64"))
                return parse_u64(value, &u) >= 0;
        if (streq(type, "Boolean"))
                return streq(value, "true") || streq(value, "false");
        if (streq(type, "real32") || streq(type, "real64")) {
                d = strtod(value, &end);
                return *value && !isspace((unsigned char) *value) && !*end && isfinite(d);
        }
        return streq(type, "String");
}

static int fill_list_product(Call *c, sd_bus_message *reply)
{
        const DbNode *all = vm_find(c->object, "productproperty");
        int r = 0;

        for (const DbNode *n = dbnode_first(all); r >= 0 && n; n = dbnode_next(n)) {
                bool configurable = false, password = false;

                if (!*dbnode_text(n, "key"))
                        continue;
                (void) parse_bool(dbnode_text(n, "userconfigurable"), &configurable);
                (void) parse_bool(dbnode_text(n, "password"), &password);
                r = reply_add_row(reply, "id", dbnode_name(n), "type", dbnode_text(n, "type"), "key",
                                  dbnode_text(n, "key"), "class", dbnode_text(n, "class"), "instance",
                                  dbnode_text(n, "instance"), "label", "", "description",
                                  dbnode_text(n, "description"), "user-configurable", configurable ? "true" : "false",
                                  "password", password ? "true" : "false", NULL);
        }
        return r;
}

static int method_get_product(Call *c)
{
        const DbNode *n;
        const char *id;
        int r;

        r = sd_bus_message_read(c->message, "s", &id);
        if (r < 0)
                return r;
        n = find_product(c->object, id);
        return n ? call_reply(c, "s", dbnode_text(n, "value"))
                 : call_fail(c, DBUS_ERROR_FAILED, "There is no product property %.128s", id);
}

static int method_set_product(Call *c)
{
        const char *id, *value, *type;
        char path[VM_PATH_MAX];
        Vm *vm = c->object;
        const DbNode *n;
        DbTx *tx;
        int r;

        r = sd_bus_message_read(c->message, "ss", &id, &value);
        if (r < 0)
                return r;
        n = find_product(vm, id);
        if (!n || strlen(id) > 128)
                return call_fail(c, DBUS_ERROR_FAILED, "There is no product property %.128s", id);
        type = dbnode_text(n, "type");
        if (!product_value_ok(type, value) || strlen(value) > VALUE_MAX_BYTES)
                return call_fail(c, DBUS_ERROR_FAILED, "'%.64s' is not a value of the type %s", value, type);
        tx = vm_tx_new(vm, "");
        (void) db_tx_write(tx, vm_db_path(vm, path, "productproperty/%s/value", id), value);
        return vm_commit(vm, tx, c);
}

static int method_get_ovf_env(Call *c)
{
        _cleanup_free_ char *xml = ovf_environment(c->object);

        return xml ? call_reply(c, "s", xml) : -ENOMEM;
}

static const BusMethod product_methods[] = {
        { "list_product_properties", "", "", "aa{ss}", "product_properties", NULL, NULL, .fill = fill_list_product },
        { "get_product_property", "s", "property_id", "s", "value", method_get_product, NULL },
        { "set_product_property", "ss", "property_id value", "", "", method_set_product, NULL },
        { "get_ovf_env_xml", "", "", "s", "value", method_get_ovf_env, NULL },
        { 0 }
};
const BusInterface vm_interface_product = { .name = XENMGR_INTERFACE ".vm.product", .methods = product_methods };
