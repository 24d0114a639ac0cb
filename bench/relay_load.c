/* The load of relay.py: an RTMP origin and an RTMP sink, hundreds of each, in one process.
 *
 *     relay_load CLIP.flv
 *
 * It listens on a port of 127.0.0.1. Who plays NAME there gets the clip, again and again, as stream NAME; who publishes
 * NAME there delivers it. Each stream has a clock of its own: the number in its name chooses where in the clip it was
 * when the program began, and who joins gets it from where it is by then, as from any live server. It is written as
 * nginx and encoders write it: chunks of 4096 bytes, type 0 headers first and type 1 after.
 *
 * A message at a sink is found in the clip by its bytes, so its age is exact whatever its timestamp: now less the time
 * it was due at the origin. One that is missing in between is lost, one that is not in the clip is strange.
 *
 * Lines on standard input:
 *     publish PORT APP NAME   publish stream NAME to a server on 127.0.0.1
 *     play PORT APP NAME      take stream NAME from it
 *     reset                   count from now
 *     stat                    say what was counted
 * Lines on standard output are JSON: {"port"} at the start, {"first", "at"} when a sink has its first keyframe, with
 * the time of CLOCK_MONOTONIC, and the answer to each stat.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;

enum { CHUNK = 4096, HANDSHAKE = 1536, MAX_TAGS = 20000, MAX_CONNS = 4096, MAX_STREAMS = 4096, QUEUE = 8 << 20 };
enum { SET_CHUNK_SIZE = 1, USER_CONTROL = 4, WINDOW = 5, BANDWIDTH = 6, AUDIO = 8, VIDEO = 9, DATA = 18, COMMAND = 20 };
enum { HISTOGRAM = 40000 }; /* of 50 us each */
static const u64 MS = 1000000;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static u64 now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static u32 get24(const u8 *p) { return p[0] << 16 | p[1] << 8 | p[2]; }
static u32 get32(const u8 *p) { return (u32)p[0] << 24 | get24(p + 1); }
static void put24(u8 *p, u32 v) { p[0] = v >> 16, p[1] = v >> 8, p[2] = v; }

/* ---- The clip */

typedef struct {
    u8 type;
    bool key;
    u32 time, length; /* ms, bytes */
    const u8 *data;
    u8 *chunks; /* data with the type 3 headers in between */
    u32 chunked;
} Tag;

static Tag tags[MAX_TAGS], headers[3];
static int tag_count, header_count;
static int of_kind[2][MAX_TAGS], kind_count[2]; /* pictures, sounds: indices into tags */
static u32 period;                              /* ms; the clip is a whole number of seconds */

static int kind_of(u8 type) { return type == AUDIO; }
static int csid_of(u8 type) { return type == VIDEO ? 6 : type == AUDIO ? 4 : 5; }

static void cut_into_chunks(Tag *t) {
    u8 *o = t->chunks = malloc(t->length + t->length / CHUNK + 1);
    for (u32 i = 0; i < t->length; i += CHUNK) {
        u32 n = t->length - i < CHUNK ? t->length - i : CHUNK;
        if (i) *o++ = 0xC0 | csid_of(t->type);
        memcpy(o, t->data + i, n);
        o += n;
    }
    t->chunked = o - t->chunks;
}

static void load_clip(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f) die(path);
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    u8 *b = malloc(size);
    if (fread(b, 1, size, f) != (size_t)size) die(path);
    u32 last = 0;
    for (long p = 13; p + 11 < size;) {
        Tag t = {.type = b[p], .time = get24(b + p + 4), .length = get24(b + p + 1), .data = b + p + 11};
        p += 11 + t.length + 4;
        bool coded = (t.type == VIDEO || t.type == AUDIO) && t.data[1] == 1;
        bool header = t.type == DATA || ((t.type == VIDEO || t.type == AUDIO) && t.data[1] == 0);
        t.key = t.type == VIDEO && t.data[0] >> 4 == 1;
        if (t.type == VIDEO) last = t.time;
        cut_into_chunks(&t);
        if (header && header_count < 3) headers[header_count++] = t;
        if (coded && tag_count < MAX_TAGS) tags[tag_count++] = t;
    }
    period = (last / 1000 + 1) * 1000;
    while (tag_count && tags[tag_count - 1].time >= period) tag_count--; /* sound that outlasts the picture */
    for (int i = 0; i < tag_count; i++) {
        int kind = kind_of(tags[i].type);
        of_kind[kind][kind_count[kind]++] = i;
    }
}

/* ---- The streams' clocks */

static u64 began;

static int number_of(const char *name) { return atoi(name + strcspn(name, "0123456789")) % MAX_STREAMS; }

/* When this stream was at the beginning of its first clip. */
static u64 origin_of(int number) {
    double phase = number * 0.6180339887498949;
    return began - (u64)((phase - (u64)phase) * period * MS);
}

static u64 due_at(int number, const Tag *t, u64 loop) { return origin_of(number) + (loop * period + t->time) * MS; }

/* ---- Connections */

enum Role { SERVES, PUBLISHES, PLAYS };

typedef struct {
    u32 time, delta, length, have, capacity;
    u8 type, *partial;
} ChunkStream;

typedef struct {
    int fd, number;
    enum Role role;
    int handshake; /* steps done */
    char app[64], name[128];
    u8 *in, *out;
    u32 in_at, in_end, in_size, out_at, out_end, out_size;
    u32 chunk_size;
    ChunkStream chunk_streams[64];
    /* origin */
    bool sends, began_kind[2];
    u32 sent_time[2];
    u64 loop;
    int next;
    /* sink */
    bool takes, has_key, known[2];
    u64 position[2]; /* the message that came last: its index among its kind, over all loops */
    u32 taken_time[2];
} Conn;

static Conn *conns[MAX_CONNS];
static int conn_count, poller;

static struct {
    u64 video, audio, bytes, lost, strange, backwards, waits;
    u64 late_count, late[HISTOGRAM], age_count, age[HISTOGRAM];
    double max;
} count;

static void note(u64 *histogram, u64 *total, int64_t ns) {
    int64_t slot = ns < 0 ? 0 : ns / 50000;
    histogram[slot < HISTOGRAM ? slot : HISTOGRAM - 1]++;
    ++*total;
}

static double percentile(const u64 *histogram, u64 total, double part) {
    u64 sum = 0;
    for (int i = 0; i < HISTOGRAM; i++)
        if ((sum += histogram[i]) > total * part) return (i + 0.5) / 20;
    return -1;
}

static int flush(Conn *c) {
    while (c->out_at < c->out_end) {
        ssize_t n = send(c->fd, c->out + c->out_at, c->out_end - c->out_at, MSG_NOSIGNAL);
        if (n < 0) return errno == EAGAIN ? 0 : -1;
        c->out_at += n;
    }
    c->out_at = c->out_end = 0;
    return 0;
}

static void queue(Conn *c, const void *data, u32 n) {
    if (c->out_end + n > c->out_size) c->out = realloc(c->out, c->out_size = (c->out_end + n) * 2);
    memcpy(c->out + c->out_end, data, n);
    c->out_end += n;
}

static int write_now(Conn *c, const void *data, u32 n) {
    queue(c, data, n);
    return flush(c);
}

/* A message of the control phase, shorter than 4096 bytes: one chunk, after the first on a connection. */
static int control(Conn *c, int csid, int type, u32 stream, const u8 *data, u32 n, u32 chunk) {
    u8 head[12] = {csid}, more = 0xC0 | csid;
    put24(head + 4, n), head[7] = type, head[8] = stream;
    queue(c, head, 12);
    for (u32 i = 0; i < n; i += chunk) {
        if (i) queue(c, &more, 1);
        queue(c, data + i, n - i < chunk ? n - i : chunk);
    }
    return flush(c);
}

static int control32(Conn *c, int type, u32 value) {
    u8 data[5] = {value >> 24, value >> 16, value >> 8, value, 2};
    return control(c, 2, type, 0, data, type == BANDWIDTH ? 5 : 4, 128);
}

/* ---- AMF0 */

static u8 *amf_key(u8 *o, const char *s) {
    u32 n = strlen(s);
    *o++ = n >> 8, *o++ = n;
    memcpy(o, s, n);
    return o + n;
}
static u8 *amf_text(u8 *o, const char *s) { return *o = 2, amf_key(o + 1, s); }
static u8 *amf_null(u8 *o) { return *o = 5, o + 1; }
static u8 *amf_end(u8 *o) { return *o++ = 0, *o++ = 0, *o++ = 9, o; }
static u8 *amf_number(u8 *o, double value) {
    u64 v;
    memcpy(&v, &value, 8);
    *o++ = 0;
    for (int i = 7; i >= 0; i--) *o++ = v >> 8 * i;
    return o;
}
static u8 *amf_status(u8 *o, const char *code) {
    *o++ = 3;
    o = amf_text(amf_key(o, "level"), "status");
    o = amf_text(amf_key(o, "code"), code);
    o = amf_text(amf_key(o, "description"), "Fine.");
    return o;
}

/* ---- Origin */

/* Send one message; what the socket does not take is queued. */
static int send_tag(Conn *c, const Tag *t, u32 time) {
    u8 head[12] = {csid_of(t->type)};
    int kind = kind_of(t->type), size = 12;
    put24(head + 4, t->length), head[7] = t->type;
    if (t->type == DATA || !c->began_kind[kind]) {
        put24(head + 1, time), head[8] = 1;
    } else {
        head[0] |= 0x40, size = 8;
        put24(head + 1, time - c->sent_time[kind]);
    }
    if (t->type != DATA) c->began_kind[kind] = true, c->sent_time[kind] = time;
    u32 total = size + t->chunked;
    ssize_t sent = 0;
    if (!c->out_end) {
        struct iovec parts[2] = {{head, size}, {t->chunks, t->chunked}};
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
        sent = sendmsg(c->fd, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) return -1;
        if (sent < 0) sent = 0;
    }
    if (sent == total) return 0;
    count.waits++;
    if (sent < size) queue(c, head + sent, size - sent);
    u32 skip = sent > size ? sent - size : 0;
    queue(c, t->chunks + skip, t->chunked - skip);
    return c->out_end - c->out_at > QUEUE ? -1 : flush(c);
}

static int begin_sending(Conn *c) {
    u64 now = now_ns(), at = (now - origin_of(c->number)) / MS;
    c->loop = at / period;
    for (c->next = 0; c->next < tag_count && tags[c->next].time <= at % period;) c->next++;
    if (c->next == tag_count) c->next = 0, c->loop++;
    c->sends = true;
    for (int i = 0; i < header_count; i++) {
        Tag h = headers[i];
        u8 wrapped[4096], *o = amf_text(wrapped, "@setDataFrame");
        if (h.type == DATA && c->role == PUBLISHES && h.length < 4000) {
            memcpy(o, h.data, h.length);
            h.chunks = wrapped, h.length = h.chunked = o + h.length - wrapped;
        }
        if (send_tag(c, &h, at)) return -1;
    }
    return 0;
}

/* Send all that is due; bring `wake` forward to what is due next. */
static int send_due(Conn *c, u64 now, u64 *wake) {
    for (;;) {
        const Tag *t = &tags[c->next];
        u64 due = due_at(c->number, t, c->loop);
        if (due > now) {
            if (due < *wake) *wake = due;
            return 0;
        }
        note(count.late, &count.late_count, now - due);
        if (send_tag(c, t, c->loop * period + t->time)) return -1;
        if (++c->next == tag_count) c->next = 0, c->loop++;
    }
}

/* ---- Sink */

/* Equal but for the composition time, which a relay may correct. */
static bool is_same(const Tag *t, const u8 *data, u32 n) {
    u32 from = t->type == VIDEO ? 5 : 2;
    return t->length == n && n > from && t->data[0] == data[0] && !memcmp(t->data + from, data + from, n - from);
}

static void take(Conn *c, u8 type, u32 time, const u8 *data, u32 n) {
    u64 now = now_ns();
    int kind = kind_of(type), total = kind_count[kind];
    count.bytes += n;
    if (n < 2 || data[1] != 1) return; /* a codec header */
    if (type == VIDEO) count.video++;
    else count.audio++;
    if (c->known[kind] && time < c->taken_time[kind]) count.backwards++;
    c->taken_time[kind] = time;
    u64 from = c->known[kind] ? c->position[kind] + 1 : 0, position = from;
    while (position < from + total && !is_same(&tags[of_kind[kind][position % total]], data, n)) position++;
    if (position == from + total) {
        count.strange++;
        return;
    }
    const Tag *t = &tags[of_kind[kind][position % total]];
    if (c->known[kind]) count.lost += position - from;
    else position += (now - origin_of(c->number) - t->time * MS) / (period * MS) * total;
    c->known[kind] = true, c->position[kind] = position;
    int64_t age = now - due_at(c->number, t, position / total);
    note(count.age, &count.age_count, age);
    if (age / 1e6 > count.max) count.max = age / 1e6;
    if (t->key && !c->has_key) {
        c->has_key = true;
        printf("{\"first\": \"%s\", \"at\": %.6f}\n", c->name, now / 1e9);
    }
}

/* ---- RTMP sessions */

static void set_name(Conn *c, const char *name, u32 n) {
    snprintf(c->name, sizeof c->name, "%.*s", (int)n, name);
    c->number = number_of(c->name);
}

static int on_status(Conn *c, const char *code) {
    u8 b[512], *o = amf_null(amf_number(amf_text(b, "onStatus"), 0));
    o = amf_end(amf_status(o, code));
    return control(c, 5, COMMAND, 1, b, o - b, CHUNK);
}

/* A command to us as a server; `p` is after the name and transaction. */
static int serve(Conn *c, const char *command, double transaction, const u8 *p, const u8 *end) {
    u8 b[512], *o = amf_number(amf_text(b, "_result"), transaction);
    if (!strcmp(command, "connect")) {
        if (control32(c, WINDOW, 2500000) || control32(c, BANDWIDTH, 2500000)) return -1;
        if (control32(c, SET_CHUNK_SIZE, CHUNK)) return -1;
        *o++ = 3;
        o = amf_text(amf_key(o, "fmsVer"), "FMS/3,0,1,123");
        o = amf_end(amf_number(amf_key(o, "capabilities"), 31));
        o = amf_status(o, "NetConnection.Connect.Success");
        o = amf_end(amf_number(amf_key(o, "objectEncoding"), 0));
        return control(c, 3, COMMAND, 0, b, o - b, CHUNK);
    }
    if (!strcmp(command, "createStream")) {
        o = amf_number(amf_null(o), 1);
        return control(c, 3, COMMAND, 0, b, o - b, CHUNK);
    }
    bool play = !strcmp(command, "play");
    if (!play && strcmp(command, "publish")) return 0;
    if (p < end && *p == 5) p++;
    if (end - p > 3 && *p == 2) set_name(c, (const char *)p + 3, p[1] << 8 | p[2]);
    u8 stream_begin[6] = {0, 0, 0, 0, 0, 1};
    if (control(c, 2, USER_CONTROL, 0, stream_begin, 6, CHUNK)) return -1;
    if (on_status(c, play ? "NetStream.Play.Start" : "NetStream.Publish.Start")) return -1;
    if (play) return begin_sending(c);
    c->takes = true;
    return 0;
}

/* An answer to us as a client. */
static int proceed(Conn *c, const char *command, double transaction) {
    u8 b[512];
    if (!strcmp(command, "_result") && transaction == 1) {
        u8 *o = amf_null(amf_number(amf_text(b, "createStream"), 2));
        return control(c, 3, COMMAND, 0, b, o - b, CHUNK);
    }
    if (!strcmp(command, "_result") && transaction == 2) {
        bool play = c->role == PLAYS;
        u8 *o = amf_null(amf_number(amf_text(b, play ? "play" : "publish"), 3));
        o = amf_text(o, c->name);
        if (!play) o = amf_text(o, "live");
        c->takes = play;
        return control(c, 8, COMMAND, 1, b, o - b, CHUNK);
    }
    return !strcmp(command, "onStatus") && c->role == PUBLISHES && !c->sends ? begin_sending(c) : 0;
}

static int on_message(Conn *c, u8 type, u32 time, const u8 *p, u32 n) {
    if (type == SET_CHUNK_SIZE && n >= 4) c->chunk_size = get32(p);
    if ((type == AUDIO || type == VIDEO) && c->takes) take(c, type, time, p, n);
    if (type != COMMAND || n < 12 || p[0] != 2) return 0;
    const u8 *end = p + n;
    u32 length = p[1] << 8 | p[2];
    char command[64] = "";
    if (length > 60 || p + 3 + length + 9 > end) return 0;
    memcpy(command, p + 3, length);
    p += 3 + length;
    u64 bits = (u64)get32(p + 1) << 32 | get32(p + 5);
    double transaction;
    memcpy(&transaction, &bits, 8);
    return c->role == SERVES ? serve(c, command, transaction, p + 9, end) : proceed(c, command, transaction);
}

/* The handshake, unsigned; returns whether it is over, -1 if the connection is to be closed. */
static int shake(Conn *c) {
    u8 *p = c->in + c->in_at;
    u32 there = c->in_end - c->in_at;
    if (c->role == SERVES) {
        u32 wanted = c->handshake ? HANDSHAKE : HANDSHAKE + 1;
        if (there < wanted) return 0;
        c->in_at += wanted;
        if (c->handshake++) return 1;
        u8 answer[1 + 2 * HANDSHAKE] = {3};
        for (int i = 9; i <= HANDSHAKE; i++) answer[i] = rand();
        memcpy(answer + 1 + HANDSHAKE, p + 1, HANDSHAKE);
        return write_now(c, answer, sizeof answer);
    }
    if (there < 1 + 2 * HANDSHAKE) return 0;
    c->in_at += 1 + 2 * HANDSHAKE, c->handshake = 2;
    if (write_now(c, p + 1, HANDSHAKE) || control32(c, SET_CHUNK_SIZE, CHUNK)) return -1;
    u8 b[512], *o = amf_number(amf_text(b, "connect"), 1);
    char url[128];
    snprintf(url, sizeof url, "rtmp://127.0.0.1/%s", c->app);
    *o++ = 3;
    o = amf_text(amf_key(amf_text(amf_key(o, "app"), c->app), "flashVer"), "FMLE/3.0");
    o = amf_end(amf_text(amf_key(o, "tcUrl"), url));
    return control(c, 3, COMMAND, 0, b, o - b, CHUNK) ? -1 : 1;
}

/* Take one chunk if it is all there; returns 1 if it was, -1 to close. */
static int read_chunk(Conn *c) {
    static const int sizes[4] = {11, 7, 3, 0};
    u8 *p = c->in + c->in_at, *end = c->in + c->in_end, *q = p + 1;
    if (p == end) return 0;
    int format = *p >> 6, csid = *p & 63;
    if (csid < 2) return -1;
    if (end - q < sizes[format]) return 0;
    ChunkStream *s = &c->chunk_streams[csid];
    u32 field = format < 3 ? get24(q) : s->delta, length = format < 2 ? get24(q + 3) : s->length;
    u8 type = format < 2 ? q[6] : s->type;
    q += sizes[format];
    if (format < 3 && field == 0xFFFFFF) return -1; /* no stream here lives for four hours */
    u32 wanted = length - s->have < c->chunk_size ? length - s->have : c->chunk_size;
    if ((u32)(end - q) < wanted) return 0;
    if (!s->have) {
        s->time = format ? s->time + field : field;
        s->delta = format ? field : 0, s->length = length, s->type = type;
    }
    c->in_at += q - p + wanted;
    if (wanted == length) return on_message(c, type, s->time, q, length) ? -1 : 1;
    if (s->capacity < length) s->partial = realloc(s->partial, s->capacity = length);
    memcpy(s->partial + s->have, q, wanted);
    s->have += wanted;
    if (s->have < length) return 1;
    s->have = 0;
    return on_message(c, type, s->time, s->partial, length) ? -1 : 1;
}

static int read_conn(Conn *c) {
    if (c->in_size - c->in_end < 65536) {
        memmove(c->in, c->in + c->in_at, c->in_end - c->in_at);
        c->in_end -= c->in_at, c->in_at = 0;
        if (c->in_size - c->in_end < 65536) c->in = realloc(c->in, c->in_size *= 2);
    }
    ssize_t n = recv(c->fd, c->in + c->in_end, c->in_size - c->in_end, 0);
    if (n <= 0) return n < 0 && errno == EAGAIN ? 0 : -1;
    c->in_end += n;
    int more = 1;
    while (c->handshake < 2 && more == 1) {
        int before = c->handshake;
        if ((more = shake(c)) < 0) return -1;
        if (c->handshake > before) more = 1;
    }
    while (c->handshake == 2 && (more = read_chunk(c)) == 1) {}
    if (c->in_at == c->in_end) c->in_at = c->in_end = 0;
    return more < 0 ? -1 : 0;
}

static Conn *add(int fd, enum Role role) {
    if (conn_count == MAX_CONNS) {
        close(fd);
        return NULL;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    fcntl(fd, F_SETFL, O_NONBLOCK);
    Conn *c = conns[conn_count++] = calloc(1, sizeof *c);
    c->fd = fd, c->role = role, c->chunk_size = 128;
    c->in = malloc(c->in_size = 1 << 17);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    return c;
}

static void drop(Conn *c) {
    for (int i = 0; i < conn_count; i++)
        if (conns[i] == c) conns[i] = conns[--conn_count];
    close(c->fd);
    for (int i = 0; i < 64; i++) free(c->chunk_streams[i].partial);
    free(c->in), free(c->out), free(c);
}

static void dial(enum Role role, int port, const char *app, const char *name) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (void *)&to, sizeof to)) die("connect");
    Conn *c = add(fd, role);
    if (!c) return;
    snprintf(c->app, sizeof c->app, "%s", app);
    set_name(c, name, strlen(name));
    u8 hello[1 + HANDSHAKE] = {3};
    for (int i = 9; i <= HANDSHAKE; i++) hello[i] = rand();
    if (write_now(c, hello, sizeof hello)) drop(c);
}

/* ---- The one who drives us */

static void say_stat(void) {
    int origins = 0, sinks = 0, flowing = 0;
    for (int i = 0; i < conn_count; i++)
        origins += conns[i]->sends, sinks += conns[i]->takes, flowing += conns[i]->has_key && conns[i]->known[1];
    printf("{\"origins\": %d, \"sinks\": %d, \"flowing\": %d, \"video\": %lu, \"audio\": %lu, \"bytes\": %lu, "
           "\"lost\": %lu, \"strange\": %lu, \"backwards\": %lu, \"waits\": %lu, \"p50\": %.2f, \"p99\": %.2f, "
           "\"max\": %.2f, \"late_p50\": %.2f, \"late_p99\": %.2f}\n",
           origins, sinks, flowing, count.video, count.audio, count.bytes, count.lost, count.strange, count.backwards,
           count.waits, percentile(count.age, count.age_count, 0.5), percentile(count.age, count.age_count, 0.99),
           count.max, percentile(count.late, count.late_count, 0.5), percentile(count.late, count.late_count, 0.99));
}

static void obey(void) {
    char line[512], app[64], name[128];
    int port;
    if (!fgets(line, sizeof line, stdin)) exit(0);
    if (sscanf(line, "publish %d %63s %127s", &port, app, name) == 3) dial(PUBLISHES, port, app, name);
    else if (sscanf(line, "play %d %63s %127s", &port, app, name) == 3) dial(PLAYS, port, app, name);
    else if (!strcmp(line, "reset\n")) memset(&count, 0, sizeof count);
    else if (!strcmp(line, "stat\n")) say_stat();
}

int main(int argc, char **argv) {
    if (argc != 2) return fprintf(stderr, "usage: relay_load CLIP.flv\n"), 2;
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_TIMERSLACK, 1000); /* ns: wake in time */
    setvbuf(stdin, NULL, _IONBF, 0); /* what waits must wait where epoll sees it */
    setvbuf(stdout, NULL, _IOLBF, 0);
    load_clip(argv[1]);
    began = now_ns();
    poller = epoll_create1(EPOLL_CLOEXEC);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof here;
    if (bind(listener, (void *)&here, size) || listen(listener, 1024)) die("bind");
    getsockname(listener, (void *)&here, &size);
    printf("{\"port\": %d}\n", ntohs(here.sin_port));
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 1};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    event.data.u64 = 2;
    epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &event);
    for (;;) {
        u64 now = now_ns(), wake = now + 50 * MS;
        for (int i = conn_count - 1; i >= 0; i--)
            if (conns[i]->sends && send_due(conns[i], now, &wake)) drop(conns[i]);
        now = now_ns();
        u64 pause = wake > now ? wake - now : 0;
        struct timespec timeout = {.tv_nsec = pause};
        struct epoll_event events[256];
        int n = epoll_pwait2(poller, events, 256, &timeout, NULL);
        bool commanded = false;
        for (int i = 0; i < n; i++) {
            if (events[i].data.u64 == 1) {
                int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
                if (fd >= 0) add(fd, SERVES);
            } else if (events[i].data.u64 == 2) {
                commanded = true; /* last: it may free the connections of this batch */
            } else {
                Conn *c = events[i].data.ptr;
                if ((events[i].events & (EPOLLHUP | EPOLLERR)) || read_conn(c) || flush(c)) drop(c);
            }
        }
        if (commanded) obey();
    }
}
