"""What events say, a file for each file of events: mm/events.py has its sentences in sentences/events.py."""
