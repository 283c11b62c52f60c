/* Runs every file of the folders given through the fuzz target it is linked with, and the empty
 * input, which no corpus can hold as well as libFuzzer always tries it. Prints TAP.
 */
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILES_MAX 4096
#define INPUT_MAX (1024 * 1024)

static char *names[FILES_MAX];
static int count;

static void collect(const char *folder)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;

    if (!dir) {
        perror(folder);
        exit(1);
    }
    while ((entry = readdir(dir)) != NULL) {
        size_t size = strlen(folder) + strlen(entry->d_name) + 2;
        if (entry->d_name[0] == '.') {
            continue;
        }
        if (count == FILES_MAX || !(names[count] = malloc(size))) {
            fprintf(stderr, "too many files in %s\n", folder);
            exit(1);
        }
        snprintf(names[count++], size, "%s/%s", folder, entry->d_name);
    }
    closedir(dir);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void run(const char *name)
{
    static uint8_t input[INPUT_MAX];
    size_t size;
    FILE *file = fopen(name, "rb");

    if (!file) {
        perror(name);
        exit(1);
    }
    size = fread(input, 1, sizeof(input), file);
    fclose(file);
    LLVMFuzzerTestOneInput(input, size);
}

int main(int argc, char **argv)
{
    int i;

    for (i = 1; i < argc; i++) {
        collect(argv[i]);
    }
    if (count == 0) {
        fprintf(stderr, "%s: found nothing to replay\n", argv[0]);
        return 1;
    }
    qsort(names, (size_t)count, sizeof(names[0]), by_name);
    printf("1..%d\n", count + 1);
    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    printf("ok 1 - nothing\n");
    for (i = 0; i < count; i++) {
        /* The name goes out first: the target ends the program where it fails. */
        fprintf(stderr, "replaying %s\n", names[i]);
        fflush(stdout);
        run(names[i]);
        printf("ok %d - %s\n", i + 2, names[i]);
        free(names[i]);
    }
    return 0;
}
