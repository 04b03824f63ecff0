# What package managers say, in their own forms, about the packages in /packages:
#   [installed]             what is there, as NAME VERSION
#   [ID on]                 a repository, on or off,
#   [ID by PACKAGE]         or one that is there once that package is installed;
#                           in it NAME VERSION and what it needs
function load(    line, word, count, id, place) {
    while ((getline line < "/packages") > 0) {
        count = split(line, word, " ")
        if (count == 0 || word[1] ~ /^#/) continue
        if (word[1] ~ /^\[/) {
            gsub(/[][]/, "", line)
            split(line, word, " ")
            id = word[1]
            if (id == "installed") continue
            known = word[2] != "by" || word[3] in installed
            enabled = known && word[2] != "off"
            if (known) repositories[++places] = id
            if (enabled) is_on[id] = 1
        } else if (id == "installed") {
            installed[word[1]] = word[2]
        } else if (enabled && !(word[1] in from)) {
            version[word[1]] = word[2]
            from[word[1]] = id
            sub(/^[^ ]+ +[^ ]+ */, "", line)
            needs[word[1]] = line
        }
    }
}

# Adds a package and what it needs to the transaction; 0 where that cannot be.
function add(name, by,    word, count, at) {
    if (name in installed || name in taken) return 1
    if (!(name in from)) {
        lacking = name
        lacking_by = by
        return 0
    }
    taken[name] = by
    count = split(needs[name], word, " ")
    for (at = 1; at <= count; at++) if (!add(word[at], name)) return 0
    order[++taking] = name
    return 1
}

function table(    at, name) {
    print "Dependencies resolved."
    print "================================================================================"
    print " Package  Architecture  Version  Repository  Size"
    print "================================================================================"
    print "Installing:"
    for (at = 1; at <= taking; at++) if (taken[order[at]] == "") row(order[at])
    print (verb == "yum" ? "Installing for dependencies:" : "Installing dependencies:")
    for (at = 1; at <= taking; at++) if (taken[order[at]] != "") row(order[at])
    print "\nTransaction Summary"
    print "================================================================================"
    print "Install  " taking " Packages\n"
    print "Total download size: 1.0 M"
}

function row(name) {
    print " " name "  x86_64  " version[name] "  " from[name] "  100 k"
}

function say(text) {
    print text > "/dev/stderr"
}

BEGIN {
    load()
    verb = ARGV[1]
    if (verb == "dpkg") for (name in installed) print name, "installed", installed[name]
    if (verb == "rpm") for (name in installed) print name, installed[name]
    for (at = 2; at < ARGC; at++) {
        name = ARGV[at]
        if (verb == "policy") {
            print name ":"
            print "  Installed: " (name in installed ? installed[name] : "(none)")
            print "  Candidate: " (name in from ? version[name] : "(none)")
        }
        if (verb == "repoquery" && name in from) print name
        if (verb == "info" && name in from) found = found "Name        : " name "\n"
    }
    if (verb == "info") {
        if (found == "") {
            say("Error: No matching Packages to list")
            exit 1
        }
        printf "Available Packages\n%s", found
    }
    if (verb == "repolist") {
        print (ARGV[2] == "dnf" ? "repo id  repo name" : "repo id  repo name  status")
        for (at = 1; at <= places; at++)
            if (ARGV[3] == "all" || repositories[at] in is_on) print repositories[at], repositories[at]
    }
    if (verb == "apt") {
        for (at = 2; at < ARGC; at++) if (!add(ARGV[at], "")) {
            say("E: Unable to locate package " ARGV[at])
            exit 100
        }
        for (at = 1; at <= taking; at++)
            print "Inst " order[at] " (" version[order[at]] " " from[order[at]] " [amd64])"
    }
    if (verb == "dnf" || verb == "yum") {
        for (at = 2; at < ARGC; at++) if (!(ARGV[at] in from) && !(ARGV[at] in installed)) {
            if (verb == "yum") print "No package " ARGV[at] " available."
            else say("No match for argument: " ARGV[at] "\nError: Unable to find a match: " ARGV[at])
            exit 1
        }
        for (at = 2; at < ARGC; at++) if (!add(ARGV[at], "")) {
            say("Error: \n Problem: conflicting requests\n  - nothing provides " lacking " needed by " \
                lacking_by "-" version[lacking_by] ".x86_64 from " from[lacking_by])
            exit 1
        }
        table()
        print (verb == "yum" ? "Exiting on user command" : "Operation aborted.")
        exit 1
    }
}
