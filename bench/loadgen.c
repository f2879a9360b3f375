/*
 * The load generator of the benchmark: one thread, one epoll set, a closed loop on every connection.
 *
 * Each connection carries an endless stream with a period that no message length divides, so that lost, repeated,
 * reordered or foreign bytes differ from what is expected. Every byte that comes back is compared.
 *
 * After the warm-up it prints "ready" and reads a line of process IDs: those of the server, whose processor time it
 * reads from the kernel (clock_getcpuclockid(3)) at both ends of the measured time, beside its own. The result is one
 * line of JSON. Any error is one line on standard error, and status 1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif

enum { PERIOD = 4093, LARGEST = 262144, EVENTS = 512, PIDS = 4096, SOURCES = 8 };
/* Latencies are counted in buckets: 128 for each power of two, so that they are less than 1 % wide. */
enum { STEPS = 128, STEP_BITS = 7, BUCKETS = STEPS * 58 };

struct peer {
    int fd;
    uint64_t sent, received, goal; /* bytes of the stream; `goal` is up to where it is to be sent */
    int64_t *began;                /* when each message in flight was sent, in ns */
    bool writing;                  /* whether it waits until the socket takes more */
#ifdef WITH_TLS
    SSL *tls;
#endif
};

static struct {
    int port, connections, depth;
    uint64_t size;
    double seconds, warmup;
    bool upper, churn, tls;
} plan = {.connections = 1, .depth = 1, .size = 64, .seconds = 1};

static unsigned char stream[PERIOD + LARGEST], expected[PERIOD + LARGEST], buffer[LARGEST];
static uint64_t buckets[BUCKETS], messages;
static clockid_t clocks[PIDS];
static int epoll, processes;
static struct peer *peers;
static bool ending; /* whether nothing new is sent any more */

static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    exit(1);
}

static int64_t ns(clockid_t clock)
{
    struct timespec time;
    return clock_gettime(clock, &time) ? 0 : time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static int64_t server_ns(void)
{
    int64_t sum = 0;
    for (int i = 0; i < processes; i++)
        sum += ns(clocks[i]);
    return sum;
}

static void record(int64_t latency)
{
    uint64_t value = latency > 0 ? latency : 1;
    int shift = value < 2 * STEPS ? 0 : 63 - __builtin_clzll(value) - STEP_BITS;
    unsigned index = shift * STEPS + (value >> shift);
    buckets[index < BUCKETS ? index : BUCKETS - 1]++;
    messages++;
}

static double percentile(double share)
{
    uint64_t seen = 0, rank = share * messages;
    unsigned index = 0;
    while (index < BUCKETS - 1 && (seen += buckets[index]) <= rank)
        index++;
    int shift = index < 2 * STEPS ? 0 : index / STEPS - 1;
    return ((uint64_t)(index - shift * STEPS) << shift) / 1e9;
}

/* -- one connection: receive and send return -1 where they would have to wait */

#ifdef WITH_TLS
static ssize_t tls_result(struct peer *peer, int count)
{
    if (count > 0)
        return count;
    int error = SSL_get_error(peer->tls, count);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return -1;
    fail("TLS: %s", ERR_reason_error_string(ERR_peek_error()));
    return 0;
}

static void start_tls(struct peer *peer)
{
    static SSL_CTX *context;
    if (!context) {
        context = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    }
    peer->tls = SSL_new(context);
    if (!SSL_set_fd(peer->tls, peer->fd) || SSL_connect(peer->tls) != 1)
        fail("TLS handshake: %s", ERR_reason_error_string(ERR_peek_error()));
}
#endif

static ssize_t receive(struct peer *peer)
{
#ifdef WITH_TLS
    if (peer->tls)
        return tls_result(peer, SSL_read(peer->tls, buffer, sizeof buffer));
#endif
    ssize_t count = recv(peer->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (count == 0)
        fail("the server closed a connection");
    if (count < 0 && errno != EAGAIN)
        fail("recv: %s", strerror(errno));
    return count;
}

static ssize_t transmit(struct peer *peer, const unsigned char *data, size_t size)
{
#ifdef WITH_TLS
    if (peer->tls)
        return tls_result(peer, SSL_write(peer->tls, data, size));
#endif
    ssize_t count = send(peer->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0 && errno != EAGAIN)
        fail("send: %s", strerror(errno));
    return count;
}

static void watch(struct peer *peer, int operation, bool writing)
{
    struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = peer};
    if (epoll_ctl(epoll, operation, peer->fd, &event))
        fail("epoll_ctl: %s", strerror(errno));
    peer->writing = writing;
}

static void open_connection(struct peer *peer)
{
    static unsigned opened;
    int one = 1;
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(plan.port)};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    peer->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (plan.churn) {
        /* A closed connection keeps its port for a while: one address would run out of them. */
        struct sockaddr_in source = {.sin_family = AF_INET};
        source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + opened++ % SOURCES);
        setsockopt(peer->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(peer->fd, (struct sockaddr *)&source, sizeof source))
            fail("bind: %s", strerror(errno));
    }
    if (connect(peer->fd, (struct sockaddr *)&server, sizeof server))
        fail("connect: %s", strerror(errno));
    setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
#ifdef WITH_TLS
    if (plan.tls)
        start_tls(peer);
#endif
}

/* -- the closed loop */

static void push(struct peer *peer)
{
    while (peer->sent < peer->goal) {
        uint64_t left = peer->goal - peer->sent;
        ssize_t count = transmit(peer, stream + peer->sent % PERIOD, left < LARGEST ? left : LARGEST);
        if (count < 0) {
            if (!peer->writing)
                watch(peer, EPOLL_CTL_MOD, true);
            return;
        }
        peer->sent += count;
    }
    if (peer->writing)
        watch(peer, EPOLL_CTL_MOD, false);
}

static void begin(struct peer *peer)
{
    int64_t now = ns(CLOCK_MONOTONIC);
    if (plan.churn) {
        peer->sent = peer->received = peer->goal = 0;
        open_connection(peer);
        watch(peer, EPOLL_CTL_ADD, false);
    }
    for (int i = 0; i < plan.depth; i++)
        peer->began[i] = now;
    peer->goal += plan.size * plan.depth;
    push(peer);
}

/* Count the messages that are complete, and send as many new ones in their place. */
static void complete(struct peer *peer, uint64_t first, uint64_t end)
{
    int64_t now = ns(CLOCK_MONOTONIC);
    for (uint64_t i = first; i < end; i++) {
        record(now - peer->began[i % plan.depth]);
        peer->began[i % plan.depth] = now;
    }
    if (plan.churn) {
        close(peer->fd);
        peer->fd = -1;
        if (!ending)
            begin(peer);
    } else if (!ending) {
        peer->goal += (end - first) * plan.size;
        push(peer);
    }
}

static void on_input(struct peer *peer)
{
    bool more;
    do {
        ssize_t count = receive(peer);
        if (count < 0)
            return;
        if (peer->received + count > peer->sent)
            fail("more came back than was sent");
        if (memcmp(buffer, expected + peer->received % PERIOD, count))
            fail("what came back differs from what was sent");
        uint64_t before = peer->received / plan.size, after = (peer->received += count) / plan.size;
        more = false;
#ifdef WITH_TLS
        more = peer->tls && SSL_has_pending(peer->tls);
#endif
        if (after > before)
            complete(peer, before, after);
    } while (more);
}

static uint64_t in_flight(void)
{
    uint64_t bytes = 0;
    for (int i = 0; i < plan.connections; i++)
        bytes += peers[i].goal - peers[i].received;
    return bytes;
}

static void serve_until(int64_t end)
{
    struct epoll_event events[EVENTS];
    while (ns(CLOCK_MONOTONIC) < end) {
        int count = epoll_wait(epoll, events, EVENTS, 10);
        for (int i = 0; i < count; i++) {
            struct peer *peer = events[i].data.ptr;
            if (events[i].events & EPOLLOUT)
                push(peer);
            if (events[i].events & ~EPOLLOUT)
                on_input(peer);
        }
        if (ending && in_flight() == 0)
            return;
    }
}

/* -- the run */

static void read_arguments(int count, char **values)
{
    for (int option; (option = getopt(count, values, "p:c:s:d:t:w:uxT")) != -1;) {
        switch (option) {
        case 'p': plan.port = atoi(optarg); break;
        case 'c': plan.connections = atoi(optarg); break;
        case 's': plan.size = atoi(optarg); break;
        case 'd': plan.depth = atoi(optarg); break;
        case 't': plan.seconds = atof(optarg); break;
        case 'w': plan.warmup = atof(optarg); break;
        case 'u': plan.upper = true; break;
        case 'x': plan.churn = true; break;
        case 'T': plan.tls = true; break;
        default: exit(2);
        }
    }
    if (plan.port < 1 || plan.connections < 1 || plan.size < 1 || plan.depth < 1)
        fail("usage: loadgen -p PORT [-c CONNECTIONS] [-s BYTES] [-d DEPTH] [-t SECONDS] [-w WARMUP] [-u] [-x] [-T]");
#ifndef WITH_TLS
    if (plan.tls)
        fail("this load generator was built without TLS");
#endif
}

static void read_processes(void)
{
    char line[PIDS * 8];
    puts("ready");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        fail("no process IDs on standard input");
    char *rest = line, *word;
    while (processes < PIDS && (word = strsep(&rest, " \n")))
        if (*word && clock_getcpuclockid(atoi(word), &clocks[processes]) == 0)
            processes++;
}

int main(int count, char **values)
{
    read_arguments(count, values);
    for (int i = 0; i < PERIOD + LARGEST; i++) {
        unsigned k = i % PERIOD;
        stream[i] = k * k * 31 + k * 7;
        expected[i] = plan.upper && stream[i] >= 'a' && stream[i] <= 'z' ? stream[i] - 'a' + 'A' : stream[i];
    }
    epoll = epoll_create1(EPOLL_CLOEXEC);
    peers = calloc(plan.connections, sizeof *peers);
    for (int i = 0; i < plan.connections; i++) {
        peers[i].began = calloc(plan.depth, sizeof *peers[i].began);
        if (plan.churn)
            continue;
        open_connection(&peers[i]);
        watch(&peers[i], EPOLL_CTL_ADD, false);
        /* Each one at another place of the stream. */
        peers[i].sent = peers[i].received = peers[i].goal = (uint64_t)plan.size * i;
    }
    for (int i = 0; i < plan.connections; i++)
        begin(&peers[i]);
    serve_until(ns(CLOCK_MONOTONIC) + (int64_t)(plan.warmup * 1e9));
    read_processes(); /* a pause, which no latency may include */
    serve_until(ns(CLOCK_MONOTONIC) + (int64_t)(plan.warmup / 4 * 1e9));

    memset(buckets, 0, sizeof buckets);
    messages = 0;
    int64_t own = ns(CLOCK_PROCESS_CPUTIME_ID), server = server_ns(), start = ns(CLOCK_MONOTONIC);
    serve_until(start + (int64_t)(plan.seconds * 1e9));
    double elapsed = ns(CLOCK_MONOTONIC) - start;
    own = ns(CLOCK_PROCESS_CPUTIME_ID) - own;
    server = server_ns() - server;
    uint64_t answered = messages;
    if (!answered)
        fail("nothing was answered");
    double p50 = percentile(.5), p99 = percentile(.99), p999 = percentile(.999);

    ending = true; /* what is in flight has to come back as well */
    serve_until(ns(CLOCK_MONOTONIC) + INT64_C(5000000000));
    if (in_flight())
        fail("%llu bytes did not come back", (unsigned long long)in_flight());
    printf("{\"messages\": %llu, \"elapsed\": %.9f, \"cpu\": %.9f, \"server_cpu\": %.9f, "
           "\"latency\": [%.9f, %.9f, %.9f]}\n",
           (unsigned long long)answered, elapsed / 1e9, own / 1e9, server / 1e9, p50, p99, p999);
    return 0;
}
