from cuestream_client.command import main

main()
