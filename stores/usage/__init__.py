"""Token usage of calls: classes priced separately, and rules that read each sender's counts into them."""
