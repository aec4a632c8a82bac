/*
 * script.h - transcripts: a text file of commands and what a group of replicas (group.h) says to them.
 *
 * Lines that begin with "> " are commands, lines that begin with "# " and empty lines are for the reader,
 * everything else is output. script_run reads the commands and gives back the whole transcript as it is
 * today; a test compares, or rewrites.
 *
 *   group VOTERS [learners N] [prefer P] [window ENTRIES] [push ENTRIES] [seed S]    first command
 *   log P TERM... [vote V] [term T] [commit C]   P starts anew with this durable log
 *   quiet | loud                 whether each message is told (loud at first)
 *   * campaign P                   time passes for everybody until P's election time-out, which P alone notices
 *   tick P MS                    MS pass, P alone looks at the clock
 *   run MS                       MS pass for everybody; disks and links work at once; messages are not told
 *   settle                       disks and links do all they can at this instant
 *   deliver [A->B] [first]       all packets under way now (on that link), or the oldest one; `*` is any peer
 *   drop [A->B]                  lose them
 *   cut A->B | heal A->B | heal  links; `cut A<->B` cuts both ways
 *   persist P | flush P          disk: flush makes durable, persist also reports it to the core
 *   report P hard | report P log
 *   hang P | unhang P            P's disk does nothing unless told to by the commands above
 *   submit P N                   N new entries at P
 *   transfer P Q                 leader P hands over to Q (0: to whom it likes)
 *   crash P | kill P | restart P      kill: a crash that resets the connections to P at all others
 *   reset P Q                    P's connection to Q is reset
 *   lease P | status | peers P | queue
 */
#ifndef TESTS_SCENARIO_SCRIPT_H
#define TESTS_SCENARIO_SCRIPT_H

/* Run the commands in `text` and return the transcript, to be freed; a line that is no command ends the
 * process with its number. */
char *script_run(const char *text);

#endif
