"""What the operating system is asked for.

environment   how a process of our own is started          confinement   what one is held to that reads what strangers wrote
disk          a folder, and what is lacking when it is full  written_file  a file whose disk may refuse
srt           the program that speaks it      windows       what it is asked for otherwise
lock          a folder that one server has    records       what goes through the pipe to such a process
"""
