/* The way to the server: name, addresses, port, certificate. */
#include "b24bgctl_check.h"

#include <apr_network_io.h>
#include <apr_strings.h>

#include <stdlib.h>
#include <string.h>

/* Of a certificate, as the administrator of most sites would want to be told: Let's Encrypt's are
 * renewed 30 days before their end. */
#define CERTIFICATE_WARNING apr_time_from_sec(21 * 86400)
#define CERTIFICATE_CRITICAL apr_time_from_sec(7 * 86400)
#define RENEW "renew the certificate, and reload what serves it"

static const char *address_text(apr_pool_t *pool, apr_sockaddr_t *address)
{
    char *text = NULL;

    return apr_sockaddr_ip_get(&text, address) == APR_SUCCESS ? text : apr_pstrdup(pool, "?");
}

/* RFC 1918, 3927, 4193, 4291, 6598: nothing that the internet can reach. */
static int is_private(const char *address)
{
    int first = atoi(address);
    const char *dot = strchr(address, '.');
    int second = dot ? atoi(dot + 1) : 0;

    if (strchr(address, ':')) {
        return strcmp(address, "::1") == 0 || strncmp(address, "fc", 2) == 0 ||
               strncmp(address, "fd", 2) == 0 || strncmp(address, "fe80:", 5) == 0;
    }
    return first == 10 || first == 127 || (first == 192 && second == 168) ||
           (first == 172 && second >= 16 && second <= 31) || (first == 169 && second == 254) ||
           (first == 100 && second >= 64 && second <= 127);
}

static apr_sockaddr_t *check_name(b24bgctl_check_t *check)
{
    const b24bgctl_origin_t *worker = &check->worker;
    apr_sockaddr_t *first = NULL;
    apr_sockaddr_t *address;
    const char *all = "";
    const char *inside = NULL;
    char reason[200];
    apr_status_t rv = apr_sockaddr_info_get(&first, worker->host, APR_UNSPEC,
                                            (apr_port_t)worker->port, 0, check->pool);

    if (rv != APR_SUCCESS) {
        b24bgctl_find(check, B24BGCTL_FOUND_CRITICAL, "name",
                      "make a record for it in the DNS, or correct the URL",
                      "%s has no address: %s", worker->host,
                      apr_strerror(rv, reason, sizeof(reason)));
        return NULL;
    }
    for (address = first; address; address = address->next) {
        const char *text = address_text(check->pool, address);
        all = apr_pstrcat(check->pool, all, *all ? ", " : "", text, NULL);
        inside = is_private(text) ? text : inside;
    }
    if (strcmp(all, worker->host) != 0) {
        b24bgctl_find(check, B24BGCTL_FOUND_OK, "name", "", "%s is %s", worker->host, all);
    }
    if (inside) {
        b24bgctl_find(
            check, B24BGCTL_FOUND_NOTE, "name", "",
            "%s is reached from inside its network alone: Bitrix24's cloud cannot deliver "
            "a notice there, and a browser may ask the user first",
            inside);
    }
    return first;
}

static apr_status_t try_address(const b24bgctl_check_t *check, apr_sockaddr_t *address)
{
    apr_socket_t *link;
    apr_status_t rv =
        apr_socket_create(&link, address->family, SOCK_STREAM, APR_PROTO_TCP, check->pool);

    if (rv == APR_SUCCESS) {
        apr_socket_timeout_set(link, apr_time_from_sec(check->manner.timeout));
        rv = apr_socket_connect(link, address);
        apr_socket_close(link);
    }
    return rv;
}

/* Returns how many answer. */
static int check_addresses(b24bgctl_check_t *check, apr_sockaddr_t *address)
{
    int reached = 0;

    for (; address; address = address->next) {
        const char *text = address_text(check->pool, address);
        apr_time_t start = apr_time_now();
        apr_status_t rv = try_address(check, address);
        char reason[200];
        if (rv == APR_SUCCESS) {
            reached++;
            b24bgctl_find(check, B24BGCTL_FOUND_OK, "tcp", "", "%s answers on port %d in %.1f ms",
                          text, check->worker.port, (double)(apr_time_now() - start) / 1000.0);
        } else {
            b24bgctl_find(check, B24BGCTL_FOUND_WARNING, "tcp",
                          "open it, or take the address out of the DNS: browsers lose time on it",
                          "%s does not answer on port %d: %s", text, check->worker.port,
                          apr_strerror(rv, reason, sizeof(reason)));
        }
    }
    return reached;
}

int b24bgctl_check_way(b24bgctl_check_t *check)
{
    apr_sockaddr_t *addresses = check_name(check);

    if (!addresses) {
        return 0;
    }
    if (!check_addresses(check, addresses)) {
        b24bgctl_find(check, B24BGCTL_FOUND_CRITICAL, "tcp",
                      "start the server, or open the port in its firewall",
                      "nothing answers at %s on port %d", check->worker.host, check->worker.port);
        return 0;
    }
    return 1;
}

/* The certificate */

static const char *end_text(apr_pool_t *pool, apr_time_t expires)
{
    apr_time_t now = apr_time_now();
    apr_int64_t days = apr_time_sec(expires > now ? expires - now : now - expires) / 86400;
    apr_time_exp_t parts;
    apr_size_t length;
    char date[32] = "?";

    if (apr_time_exp_gmt(&parts, expires) == APR_SUCCESS) {
        apr_strftime(date, &length, sizeof(date), "%Y-%m-%dT%H:%MZ", &parts);
    }
    return apr_psprintf(pool, "%s, %s%" APR_INT64_T_FMT " days%s", date, expires > now ? "in " : "",
                        days, expires > now ? "" : " ago");
}

static void check_end(b24bgctl_check_t *check, apr_time_t expires)
{
    apr_interval_time_t left = expires - apr_time_now();
    b24bgctl_found_e severity = B24BGCTL_FOUND_OK;

    check->certificate_expires = expires;
    if (!expires) {
        b24bgctl_find(check, B24BGCTL_FOUND_NOTE, "tls", "",
                      "the certificate is accepted; when it expires cannot be read here");
        return;
    }
    if (left < CERTIFICATE_WARNING) {
        severity = left < CERTIFICATE_CRITICAL ? B24BGCTL_FOUND_CRITICAL : B24BGCTL_FOUND_WARNING;
    }
    b24bgctl_find(check, severity, "tls", severity == B24BGCTL_FOUND_OK ? "" : RENEW,
                  "the certificate is accepted, and expires %s", end_text(check->pool, expires));
}

/* By what OpenSSL says. */
static const char *peer_remedy(const char *error)
{
    static const struct {
        const char *words;
        const char *remedy;
    } remedies[] = {{"expired", RENEW},
                    {"local issuer",
                     "send the intermediate certificates with it, as SSLCertificateFile does "
                     "with the whole chain in it"},
                    {"self-signed", "take a certificate of an authority that browsers know"},
                    {"self signed", "take a certificate of an authority that browsers know"},
                    {"alternative certificate", "take a certificate with this host's name in it"},
                    {"match", "take a certificate with this host's name in it"}};
    apr_size_t i;

    for (i = 0; i < sizeof(remedies) / sizeof(remedies[0]); i++) {
        if (strstr(error, remedies[i].words)) {
            return remedies[i].remedy;
        }
    }
    return "see what the certificate is: openssl s_client -connect HOST:443 -servername HOST";
}

void b24bgctl_check_tls(b24bgctl_check_t *check, const b24bgctl_result_t *result)
{
    if (strcmp(check->worker.scheme, "https") != 0) {
        return;
    }
    if (!result->error) {
        check_end(check, result->certificate_expires);
    } else if (result->bad_peer) {
        apr_time_t expires = b24bgctl_send_look(check->facts.url, &check->manner);
        check->certificate_expires = expires;
        b24bgctl_find(check, B24BGCTL_FOUND_CRITICAL, "tls", peer_remedy(result->error),
                      "the certificate is not accepted: %s%s%s", result->error,
                      expires ? "; its end is " : "",
                      expires ? end_text(check->pool, expires) : "");
    }
}
