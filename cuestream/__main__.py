from cuestream.cli import main

main()
