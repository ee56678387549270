"""Who may come in, and how often.

secrets    keys, client secrets, tokens, resume handles    admission  what each address may do in a minute
rates, limiting   how that is counted                      origins    pages of other sites, names that are not ours
forwarded  for whom a proxy asks
"""
