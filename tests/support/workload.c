/* What a container is, as it sees it, and the answer of the simulated platform:
 * `app HEX` prints one line per finding; HEX is the 64 bytes for REPORT_DATA.
 * `app wait` waits for SIGTERM. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

extern char **environ;

static void told(const char *file, const char *label) {
    char line[4096];
    FILE *in = fopen(file, "r");
    while (in && fgets(line, sizeof line, in))
        printf("%s %s", label, line);
}

static void answer(int platform, const char *hex) {
    unsigned char message[72] = "sealtee2", back[32768];
    int pair[2];
    for (int i = 0; i < 64; i++)
        sscanf(hex + 2 * i, "%2hhx", message + 8 + i);
    socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair);
    struct iovec part = {message, sizeof message};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.head = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    memcpy(CMSG_DATA(&control.head), &pair[1], sizeof(int));
    struct msghdr sent = {0, 0, &part, 1, &control, sizeof control, 0};
    if (sendmsg(platform, &sent, 0) < 0)
        exit(9);
    close(pair[1]);
    ssize_t size = recv(pair[0], back, sizeof back, 0);
    printf("answer ");
    for (ssize_t i = 0; i < size; i++)
        printf("%02x", back[i]);
    printf("\n");
}

static void ended(int number) { _exit(64 + number); }

static void wait_for_end(void) {
    signal(SIGTERM, ended);
    printf("waiting\n");
    fflush(stdout);
    for (;;)
        pause();
}

int main(int count, char **words) {
    char place[4096];
    if (count > 1 && strcmp(words[1], "wait") == 0)
        wait_for_end();
    for (int i = 0; i < count; i++)
        printf("word %s\n", words[i]);
    for (char **each = environ; *each; each++)
        printf("variable %s\n", *each);
    printf("place %s\nperson %d:%d\n", getcwd(place, sizeof place), getuid(), getgid());
    told("/proc/self/status", "status");
    told("/data/note", "note");
    const char *platform = getenv("SEALSERVE_TEE_FD");
    if (platform && count > 1)
        answer(atoi(platform), words[1]);
    return 7;
}
