/* Memory of this process. */
#ifndef FCA_METER_H
#define FCA_METER_H

#include <stdbool.h>
#include <stdio.h>

/* Begin to watch; `guest` where a user-mode emulator runs this process. */
void fr_meter_start(bool guest);
/* Write `, "rss_bytes": …` and so on. */
void fr_meter_say(FILE *out);

#endif
