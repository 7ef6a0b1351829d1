# Cuts the fenced blocks out of a Markdown file: awk -v to=DIRECTORY -f blocks.awk README.md
# Writes DIRECTORY/N.body for each, and prints "N LINE LANGUAGE WORD...": what stands behind the fence.
/^```/ && !inside {
    inside = 1
    number++
    body = to "/" number ".body"
    printf "" > body
    info = substr($0, 4)
    print number, FNR, info == "" ? "none" : info
    next
}
/^```$/ && inside {
    inside = 0
    close(body)
    next
}
inside { print > body }
END {
    if (inside) {
        print "blocks.awk: a block is not closed" > "/dev/stderr"
        exit 1
    }
}
