/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "serial.h"

#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

#include "util.h"

int serial_open(const char *device)
{
        _cleanup_close_ int fd = open(device, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        struct termios t;

        if (fd < 0)
                return -errno;
        if (!isatty(fd))
                return TAKE_FD(fd);
        if (tcgetattr(fd, &t) < 0)
                return -errno;
        t.c_iflag = IGNBRK | IGNPAR;
        t.c_oflag = 0;
        t.c_lflag = 0;
        t.c_cflag &= ~(tcflag_t) (CSIZE | PARENB | CSTOPB | CRTSCTS);
        t.c_cflag |= CS8 | CREAD | CLOCAL;
        t.c_cc[VMIN] = 1;
        t.c_cc[VTIME] = 0;
        if (tcsetattr(fd, TCSANOW, &t) < 0 || tcflush(fd, TCIFLUSH) < 0)
                return -errno;
        return TAKE_FD(fd);
}
