/* One thread for each connection and blocking calls, without an interpreter. */
#define _GNU_SOURCE
#include "echo.h"
#include <pthread.h>
#include <stdint.h>

static void *serve(void *argument)
{
    unsigned char buffer[BUFFER];
    int fd = (int)(intptr_t)argument;
    while (answer(fd, buffer))
        continue;
    close(fd);
    return NULL;
}

int main(int count, char **values)
{
    int listener = listen_on(count, values);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 4 * BUFFER);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    for (;;) {
        pthread_t thread;
        int fd = accept_from(listener);
        if (pthread_create(&thread, &attributes, serve, (void *)(intptr_t)fd))
            fail("pthread_create");
    }
}
