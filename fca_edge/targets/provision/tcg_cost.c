/* A QEMU plugin that counts the guest instructions of an inference, block by block.
 *
 * The measured program brackets an inference by closing two file descriptors that nobody
 * can have open: a system call that changes nothing and that any interpreter can make.
 *
 * Written to the file of the argument `out=`, at each end and at exit:
 *   clock INSTRUCTIONS...     since the beginning, at each time that the guest read a clock
 *   inference INSTRUCTIONS
 *   block ADDRESS EXECUTIONS MODE SIZES BYTES     of the last inference
 * MODE is 't' where some instruction is of two bytes (Thumb), else '?'; SIZES is one digit an
 * instruction; BYTES is hexadecimal.
 *
 * Where a runtime takes the time of each operator, what was executed between two readings of the
 * clock is the operator. A guest reads it by a system call: this emulator has no vDSO.
 *
 * No package ships QEMU's plugin header, so the prototypes that are needed stand here; they
 * are those of plugin interface version 1.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { INLINE_ADD_U64 = 0 };

typedef void (*translated)(plugin_id, struct qemu_plugin_tb *);
typedef void (*called)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                       uint64_t, uint64_t, uint64_t, uint64_t);
typedef void (*ended)(plugin_id, void *);

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, translated);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id, called);
void qemu_plugin_register_atexit_cb(plugin_id, ended, void *);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

#define MARK_BEGIN 0x0FCA0001u
#define MARK_END 0x0FCA0002u
/* clock_gettime of aarch64 and of 32-bit ARM, and the latter's with seconds of 64 bits. */
enum { CLOCK_64 = 113, CLOCK_32 = 263, CLOCK_32_WIDE = 403, MOST_READINGS = 1 << 16 };

struct block {
    uint64_t count; /* executions; QEMU's generated code adds to it */
    uint64_t at_begin;
    uint64_t last; /* executions in the last inference */
    uint64_t address;
    uint32_t instructions;
    uint32_t bytes;
    bool thumb;
    uint8_t *code; /* `instructions` sizes, then `bytes` bytes */
    struct block *next;
};

static struct block *blocks;
static FILE *out;
static uint64_t readings[MOST_READINGS];
static size_t reading_count;
static bool measuring;

static void on_translate(plugin_id id, struct qemu_plugin_tb *tb)
{
    struct block *made = calloc(1, sizeof *made);
    size_t n = qemu_plugin_tb_n_insns(tb);
    size_t bytes = 0;
    (void)id;
    for (size_t i = 0; i < n; i++)
        bytes += qemu_plugin_insn_size(qemu_plugin_tb_get_insn(tb, i));
    made->address = qemu_plugin_tb_vaddr(tb);
    made->instructions = (uint32_t)n;
    made->bytes = (uint32_t)bytes;
    made->code = malloc(n + bytes);
    uint8_t *to = made->code + n;
    for (size_t i = 0; i < n; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        size_t size = qemu_plugin_insn_size(insn);
        made->code[i] = (uint8_t)size;
        made->thumb |= size == 2;
        memcpy(to, qemu_plugin_insn_data(insn), size);
        to += size;
    }
    made->next = blocks;
    blocks = made;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, INLINE_ADD_U64, &made->count, 1);
}

static void on_begin(void)
{
    for (struct block *b = blocks; b; b = b->next)
        b->at_begin = b->count;
    reading_count = 0;
    measuring = true;
}

static uint64_t count_since_begin(void)
{
    uint64_t total = 0;
    for (struct block *b = blocks; b; b = b->next)
        total += (b->count - b->at_begin) * b->instructions;
    return total;
}

static void on_end(void)
{
    measuring = false;
    for (struct block *b = blocks; b; b = b->next)
        b->last = b->count - b->at_begin;
    for (size_t i = 0; i < reading_count; i++)
        fprintf(out, "%s %llu", i ? "" : "clock", (unsigned long long)readings[i]);
    if (reading_count)
        fputc('\n', out);
    fprintf(out, "inference %llu\n", (unsigned long long)count_since_begin());
    fflush(out);
}

static void on_syscall(plugin_id id, unsigned vcpu, int64_t number, uint64_t a1, uint64_t a2,
                       uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)vcpu, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    bool reads = number == CLOCK_64 || number == CLOCK_32 || number == CLOCK_32_WIDE;
    if ((uint32_t)a1 == MARK_BEGIN)
        on_begin();
    else if ((uint32_t)a1 == MARK_END)
        on_end();
    else if (measuring && reads && reading_count < MOST_READINGS)
        readings[reading_count++] = count_since_begin();
}

static void on_exit_dump(plugin_id id, void *data)
{
    (void)id, (void)data;
    for (struct block *b = blocks; b; b = b->next) {
        if (!b->last)
            continue;
        fprintf(out, "block %llx %llu %c ", (unsigned long long)b->address,
                (unsigned long long)b->last, b->thumb ? 't' : '?');
        for (uint32_t i = 0; i < b->instructions; i++)
            fputc('0' + b->code[i], out);
        fputc(' ', out);
        for (uint32_t i = 0; i < b->bytes; i++)
            fprintf(out, "%02x", b->code[b->instructions + i]);
        fputc('\n', out);
    }
    fclose(out);
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const void *info,
                                                               int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++)
        if (!strncmp(argv[i], "out=", 4))
            out = fopen(argv[i] + 4, "w");
    if (!out) {
        fprintf(stderr, "tcg_cost: needs out=FILE, a file that can be written\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    qemu_plugin_register_atexit_cb(id, on_exit_dump, NULL);
    return 0;
}
