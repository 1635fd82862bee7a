// Everything of the feed-forward branch that is compiled once for each instruction set.

#include "feed_forward/cpu_kernel.h"
#include "feed_forward/cpu_backward_kernel.h"
