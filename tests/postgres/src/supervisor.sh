# Kills a server and removes its directory ($1) as soon as stdin is closed, which happens when the
# process that started this script ends. Each line of stdin is the process id of the postmaster
# that runs now, or empty if none runs.

while read -r line; do
    postmaster=$line
done
directory=$1

if [ -n "$postmaster" ]; then
    # A stopped postmaster starts no child while the list is made.
    kill -STOP "$postmaster"
    processes=$postmaster
    for stat in /proc/[0-9]*/stat; do
        read -r line <"$stat" || continue
        process=${stat#/proc/}
        # The name of the program is in parentheses. The state and the id of the parent follow.
        set -- ${line##*) }
        if [ "$2" = "$postmaster" ]; then
            processes="$processes ${process%/stat}"
        fi
    done
    kill -KILL $processes
fi

# A killed postmaster leaves its segment of System V shared memory, whose id is in this file.
set -- $(sed -n 7p "$directory/data/postmaster.pid")
if [ -n "$2" ]; then
    ipcrm -m "$2"
fi

# A process that is just being killed can still make a file.
for attempt in 1 2 3 4 5; do
    rm -rf "$directory" && break
    sleep 0.2
done
