#!/usr/bin/env bash
# Writes the report to $REPORT. Ends with 0 where hexport found something (7), so that the comment comes before the
# failure, and with hexport's own code where it failed.
set -euo pipefail

arguments=(impact "$LAKE" --output markdown)
add() {
    [ -z "$2" ] || arguments+=("$1" "$2")
}
add --manifest "$MANIFEST"
add --against "$AGAINST"
add --catalog "$CATALOG"
add --against-catalog "$AGAINST_CATALOG"
add --sql "$SQL"
add --connection "$CONNECTION"
add --fail-on "$FAIL_ON"

code=0
"$HEXPORT" "${arguments[@]}" >"$REPORT" || code=$?
{
    echo "report=$REPORT"
    echo "exit-code=$code"
} >>"${GITHUB_OUTPUT:-/dev/null}"
case $code in
    0 | 7)
        if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then
            cat "$REPORT" >>"$GITHUB_STEP_SUMMARY"
        fi
        ;;
    *) exit "$code" ;;
esac
