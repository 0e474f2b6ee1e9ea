// slowdisk COMMAND ... runs a command for which each flush of the disk takes 2 ms longer.
//
// The kernel asks before each fsync and fdatasync (seccomp_unotify(2)), whether they come by way of libc, as those of SQLite in C
// do, or straight from a program without any, which a library in LD_PRELOAD would not see.

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// delay lets flushes wait, one at a time, for as long as the command lives.
static void delay(int flushes, pid_t command) {
	const struct timespec latency = {.tv_nsec = 2000000};
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (getppid() == command) {
		struct seccomp_notif flush;
		memset(&flush, 0, sizeof flush);
		if (ioctl(flushes, SECCOMP_IOCTL_NOTIF_RECV, &flush) != 0) {
			if (errno == ENOENT || errno == EINTR)
				continue; // who asked is gone
			perror("slowdisk: receive");
			break;
		}
		nanosleep(&latency, NULL);
		struct seccomp_notif_resp answer = {.id = flush.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
		ioctl(flushes, SECCOMP_IOCTL_NOTIF_SEND, &answer);
	}
	_exit(1);
}

int main(int argc, char **argv) {
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fsync, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fdatasync, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
	};
	struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); // or only root may
	int flushes = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
	if (flushes < 0) {
		perror("slowdisk: seccomp");
		return 1;
	}
	if (argc < 2)
		return 0; // it was only asked whether it can
	pid_t command = getpid();
	for (int i = 0; i < 4; i++) // so many flushes may run at the same time
		if (fork() == 0)
			delay(flushes, command);
	close(flushes);
	execvp(argv[1], argv + 1);
	perror(argv[1]);
	return 1;
}
