/*
 * An echo server without anything around it: one thread, one epoll set. What it costs is what the kernel costs.
 * A send waits until the peer takes it, which the load generator does at once.
 */
#define _GNU_SOURCE
#include "echo.h"
#include <sys/epoll.h>

static void watch(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
        fail("epoll_ctl");
}

int main(int count, char **values)
{
    static unsigned char buffer[BUFFER];
    int listener = listen_on(count, values), epoll = epoll_create1(0);
    struct epoll_event events[512];
    watch(epoll, listener);
    for (;;) {
        int ready = epoll_wait(epoll, events, 512, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                watch(epoll, accept_from(listener));
            else if (!answer(fd, buffer))
                close(fd);
        }
    }
}
