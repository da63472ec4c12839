while found=$(left); [ -n "$found" ]; do kill -9 $found 2>/dev/null; sleep 0.05; done
