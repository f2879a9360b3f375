/* What the two servers in C have in common: PORT and HANDLER as arguments, a listener, and the answer to a message. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 65536, BACKLOG = 1024 };

static bool upper;

static void fail(const char *call)
{
    fprintf(stderr, "%s: %s\n", call, strerror(errno));
    exit(1);
}

static int listen_on(int count, char **values)
{
    if (count != 3) {
        fprintf(stderr, "usage: %s PORT echo|upper\n", values[0]);
        exit(2);
    }
    upper = strcmp(values[2], "upper") == 0;
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(values[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, BACKLOG))
        fail("listen");
    return fd;
}

static int accept_from(int listener)
{
    int fd = accept(listener, NULL, NULL), one = 1;
    if (fd < 0)
        fail("accept");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

/* Receive once and send it back; return whether the connection goes on. */
static bool answer(int fd, unsigned char *buffer)
{
    ssize_t count = recv(fd, buffer, BUFFER, 0), sent = 0;
    if (count <= 0)
        return false;
    for (ssize_t i = 0; upper && i < count; i++)
        buffer[i] -= buffer[i] >= 'a' && buffer[i] <= 'z' ? 'a' - 'A' : 0;
    while (sent < count) {
        ssize_t more = send(fd, buffer + sent, count - sent, MSG_NOSIGNAL);
        if (more < 0)
            return false;
        sent += more;
    }
    return true;
}
